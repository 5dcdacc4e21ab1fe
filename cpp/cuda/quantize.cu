// SPDX-License-Identifier: Apache-2.0
// quantize on a CUDA device (spec/quantize.md). Where rows are aligned and, for scales of rows, fit into registers, x
// is read once and the codes are written once; a scale of the whole tensor takes a second reading. Other shapes go
// element by element.
#include "cuda/quantize.h"
#include "cuda/quantize_mse.h"
#include "cuda/workspace.h"
#include "fp8ref/cuda.h"

namespace fp8ref::cuda {
namespace {

// ---- one scale for all ----------------------------------------------------------------------------------------------
constexpr int kThreads = 256;

/// largest: 0 before.
template <class T>
__global__ void __launch_bounds__(kThreads)
    amax_kernel(const T* x, std::int64_t n, std::int64_t vectors, AmaxNan nan, int* largest) {
  __shared__ Scratch<int, int> scratch;
  Amax<T> amax;
  for (std::int64_t i = grid_thread(); i < vectors; i += grid_threads()) {
    amax.add(nan, load<kWidth<T>>(x + i * kWidth<T>));
  }
  for (std::int64_t i = vectors * kWidth<T> + grid_thread(); i < n; i += grid_threads()) amax.add(nan, load<1>(x + i));
  const int all = team_reduce<Team::block>(amax.bits(), scratch, 0, Larger{}, [](int value) { return value; });
  if (threadIdx.x == 0) atomicMax(largest, all);
}

/// largest: of amax_kernel, or nullptr where the scale is given. The vectors are visited from the last: what the maxima
/// read last may still be in the cache.
template <class T>
__global__ void __launch_bounds__(kThreads)
    tensor_kernel(const T* x, std::int64_t n, std::int64_t vectors, const __grid_constant__ Rule rule,
                  const int* largest, float upper, e4m3* codes, float* scale) {
  __shared__ Factors shared;
  if (threadIdx.x == 0) {
    shared = largest == nullptr ? factors_of_given(rule, *scale)
                                : factors_of_bits<T>(rule, n == 0 ? bit_cast<int>(rule.empty_amax) : *largest, upper);
  }
  __syncthreads();
  const Factors factors = shared;
  const Divisor divisor = divisor_of(rule, factors.factor);
  for (std::int64_t i = grid_thread(); i < vectors; i += grid_threads()) {
    const std::int64_t at = (vectors - 1 - i) * kWidth<T>;
    store(codes_of(load<kWidth<T>>(x + at), rule, divisor), codes + at);
  }
  for (std::int64_t i = vectors * kWidth<T> + grid_thread(); i < n; i += grid_threads()) {
    store(codes_of(load<1>(x + i), rule, divisor), codes + i);
  }
  // A given scale stays (a NaN becomes canonical), so other blocks may read it before or after.
  if (grid_thread() == 0 && rule.scale != ScaleOf::given_multiplier) *scale = factors.scale;
}

/// The scale in the place of the multiplier, when nobody needs that any more.
__global__ void given_multiplier_kernel(const __grid_constant__ Rule rule, float* scale) {
  *scale = factors_of_given(rule, *scale).scale;
}

template <class T>
void quantize_tensor(const T* x, std::int64_t n, const Rule& rule, float upper, e4m3* codes, float* scale,
                     cudaStream_t stream) {
  const std::int64_t vectors = aligned(16, x) && aligned(kWidth<T>, codes) ? n / kWidth<T> : 0;
  const std::int64_t items = vectors > 0 ? vectors : n;
  const unsigned full = blocks_for(items, kThreads, 8 * device_facts().multiprocessors), grid = full == 0 ? 1 : full;
  if (rule.takes_scale()) {
    launch("quantize", tensor_kernel<T>, grid, kThreads, 0, stream, x, n, vectors, rule, nullptr, upper, codes, scale);
  } else {
    const Workspace<int> largest("quantize", 1, stream);
    check(cudaMemsetAsync(largest.get(), 0, sizeof(int), stream), "quantize");
    launch("quantize", amax_kernel<T>, full, kThreads, 0, stream, x, n, vectors, rule.amax_nan, largest.get());
    launch("quantize", tensor_kernel<T>, grid, kThreads, 0, stream, x, n, vectors, rule, largest.get(), upper, codes,
           scale);
  }
  if (rule.scale == ScaleOf::given_multiplier) {
    launch("quantize", given_multiplier_kernel, 1, 1, 0, stream, rule, scale);
  }
}

// ---- a scale for each row -------------------------------------------------------------------------------------------
template <class T, Team team>
__global__ void __launch_bounds__(kLargestTeam)
    row_kernel(const T* x, std::int64_t rows, int vectors, const __grid_constant__ Rule rule, float upper, e4m3* codes,
               float* scales) {
  __shared__ Scratch<int, Factors> scratch;
  const std::int64_t row = team_row<team>(), at = row * vectors * kWidth<T>;
  if (row >= rows) return;
  Vector<T, kWidth<T>> held[kHeld];
  each_held<team>(vectors, [&](int j, int v) { held[j] = load<kWidth<T>>(x + at + v * kWidth<T>); });
  quantize_held<team, T>(held, row, vectors, rule, upper, codes, scales, scratch);
}

// ---- a scale for 128 elements of a row ------------------------------------------------------------------------------
template <class T>
inline constexpr int kLanes = kTile / kWidth<T>;  // that share a group
constexpr int kSteps = 8;                         // groups that they take one after another
template <class T>
inline constexpr int kGroupsPerWarp = kSteps * 32 / kLanes<T>;

struct Group {
  std::int64_t at;
  int count;  // of elements
};
/// A group by its number in row-major order.
__device__ __forceinline__ Group group_of(std::int64_t number, std::int64_t across, std::int64_t cols) {
  if (cols % kTile == 0) return {number * kTile, kTile};
  const std::int64_t row = number / across, left = (number - row * across) * kTile;
  return {row * cols + left, cols - left < kTile ? static_cast<int>(cols - left) : kTile};
}

/// A lane keeps its part of kSteps groups; the lanes that share a group compute the factors of one of these groups
/// each.
template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    group_kernel(const T* x, std::int64_t groups, std::int64_t cols, const __grid_constant__ Rule rule, float upper,
                 e4m3* codes, float* scales) {
  const std::int64_t across = (cols + kTile - 1) / kTile, warp = grid_thread() / 32;
  const int part = lane_index() % kLanes<T>, start = part * kWidth<T>;
  const std::int64_t first = warp * kGroupsPerWarp<T> + lane_index() / kLanes<T>;
  if (warp * kGroupsPerWarp<T> >= groups) return;
  constexpr int kStride = 32 / kLanes<T>;
  Vector<T, kWidth<T>> held[kSteps];
  int mine = 0;
#pragma unroll
  for (int j = 0; j < kSteps; ++j) {
    held[j] = {};
    const std::int64_t number = first + j * kStride;
    if (number >= groups) continue;
    const Group group = group_of(number, across, cols);
    if (start < group.count) held[j] = load<kWidth<T>>(x + group.at + start);
  }
#pragma unroll
  for (int j = 0; j < kSteps; ++j) {
    Amax<T> amax;
    amax.add(rule.amax_nan, held[j]);
    int bits = amax.bits();
    for (int mask = kLanes<T> / 2; mask > 0; mask /= 2) bits = larger(bits, __shfl_xor_sync(0xFFFFFFFF, bits, mask));
    if (part == j) mine = bits;
  }
  const Factors factors = factors_of_bits<T>(rule, mine, upper);
  const Divisor my_divisor = divisor_of(rule, factors.factor);
  if (part < kSteps && first + part * kStride < groups) scales[first + part * kStride] = factors.scale;
#pragma unroll
  for (int j = 0; j < kSteps; ++j) {
    const Divisor divisor{__shfl_sync(0xFFFFFFFF, my_divisor.factor, j, kLanes<T>),
                          __shfl_sync(0xFFFFFFFF, my_divisor.reciprocal, j, kLanes<T>)};
    const std::int64_t number = first + j * kStride;
    if (number >= groups) continue;
    const Group group = group_of(number, across, cols);
    if (start < group.count) store(codes_of(held[j], rule, divisor), codes + group.at + start);
  }
}

// ---- a scale for 128 x 128 elements ---------------------------------------------------------------------------------
constexpr int kBlockHeld = 8;
template <class T>
inline constexpr int kBlockThreads = kTile * kTile / (kBlockHeld * kWidth<T>);

/// body(j, at) for the vectors of this thread in the tile at blockIdx.
template <class T, class Body>
__device__ __forceinline__ void each_of_block(std::int64_t rows, std::int64_t cols, const Body& body) {
#pragma unroll
  for (int j = 0; j < kBlockHeld; ++j) {
    const int v = static_cast<int>(threadIdx.x) + j * kBlockThreads<T>;
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.y) * kTile + v / kLanes<T>;
    const std::int64_t col = static_cast<std::int64_t>(blockIdx.x) * kTile + v % kLanes<T> * kWidth<T>;
    if (row < rows && col < cols) body(j, row * cols + col);
  }
}

template <class T>
__global__ void __launch_bounds__(kBlockThreads<T>)
    block_kernel(const T* x, std::int64_t rows, std::int64_t cols, const __grid_constant__ Rule rule, float upper,
                 e4m3* codes, float* scales) {
  __shared__ Scratch<int, Factors> scratch;
  Vector<T, kWidth<T>> held[kBlockHeld];
  Amax<T> amax;
  each_of_block<T>(rows, cols, [&](int j, std::int64_t at) { held[j] = load<kWidth<T>>(x + at); });
  each_of_block<T>(rows, cols, [&](int j, std::int64_t) { amax.add(rule.amax_nan, held[j]); });
  const Factors factors = team_reduce<Team::block>(amax.bits(), scratch, 0, Larger{},
                                                   [&](int bits) { return factors_of_bits<T>(rule, bits, upper); });
  if (threadIdx.x == 0) scales[blockIdx.y * gridDim.x + blockIdx.x] = factors.scale;
  const Divisor divisor = divisor_of(rule, factors.factor);
  each_of_block<T>(rows, cols, [&](int j, std::int64_t at) { store(codes_of(held[j], rule, divisor), codes + at); });
}

// ---- tiles of any shape and alignment -------------------------------------------------------------------------------
struct Tiles {
  std::int64_t rows, cols, height, width, down, across;
};

Tiles tiles_of(Granularity granularity, std::int64_t rows, std::int64_t cols) {
  const std::int64_t height = granularity == Granularity::block ? kTile : 1;
  const std::int64_t width = granularity == Granularity::row ? cols : kTile;
  const std::int64_t across = granularity == Granularity::row ? 1 : (cols + width - 1) / width;
  return {rows, cols, height, width, (rows + height - 1) / height, across};
}

/// A block takes tiles, and reads each twice.
template <class T>
__global__ void __launch_bounds__(kThreads)
    tile_kernel(const T* x, const Tiles tiles, const __grid_constant__ Rule rule, float upper, e4m3* codes,
                float* scales) {
  __shared__ Scratch<int, Factors> scratch;
  for (std::int64_t tile = blockIdx.x; tile < tiles.down * tiles.across; tile += gridDim.x) {
    const std::int64_t top = tile / tiles.across * tiles.height, left = tile % tiles.across * tiles.width;
    const std::int64_t height = tiles.rows - top < tiles.height ? tiles.rows - top : tiles.height;
    const std::int64_t width = tiles.cols - left < tiles.width ? tiles.cols - left : tiles.width;
    Amax<T> amax;
    for (std::int64_t i = 0; i < height; ++i) {
      const T* row = x + (top + i) * tiles.cols + left;
      for (std::int64_t j = threadIdx.x; j < width; j += blockDim.x) amax.add(rule.amax_nan, load<1>(row + j));
    }
    __syncthreads();  // the scratch of the tile before has been read
    const Factors factors = team_reduce<Team::block>(amax.bits(), scratch, 0, Larger{},
                                                     [&](int bits) { return factors_of_bits<T>(rule, bits, upper); });
    const Divisor divisor = divisor_of(rule, factors.factor);
    if (threadIdx.x == 0) scales[tile] = factors.scale;
    for (std::int64_t i = 0; i < height; ++i) {
      const std::int64_t at = (top + i) * tiles.cols + left;
      for (std::int64_t j = threadIdx.x; j < width; j += blockDim.x) {
        store(codes_of(load<1>(x + at + j), rule, divisor), codes + at + j);
      }
    }
  }
}

// ---- the choice -----------------------------------------------------------------------------------------------------
template <class T>
void quantize_rows(const T* x, std::int64_t rows, std::int64_t vectors, const Rule& rule, float upper, e4m3* codes,
                   float* scale, cudaStream_t stream) {
  const RowPlan plan = plan_rows(rows, vectors);
  launch("quantize", plan.team == Team::warp ? row_kernel<T, Team::warp> : row_kernel<T, Team::block>, plan.grid,
         plan.threads, 0, stream, x, rows, vectors, rule, upper, codes, scale);
}

template <class T>
void quantize_tiles(const T* x, std::int64_t rows, std::int64_t cols, const Rule& rule, float upper, e4m3* codes,
                    float* scale, cudaStream_t stream) {
  constexpr std::int64_t kMostAcross = 0x7FFFFFFF, kMostDown = 65535;  // blocks of a grid
  const Tiles tiles = tiles_of(rule.granularity, rows, cols);
  const bool vectors = cols > 0 && cols % kWidth<T> == 0 && aligned(16, x) && aligned(kWidth<T>, codes);
  if (vectors && rule.granularity == Granularity::row && row_fits(cols / kWidth<T>)) {
    return quantize_rows(x, rows, cols / kWidth<T>, rule, upper, codes, scale, stream);
  }
  if (vectors && rule.granularity == Granularity::group) {
    const std::int64_t groups = rows * tiles.across, warps = (groups + kGroupsPerWarp<T> - 1) / kGroupsPerWarp<T>;
    return launch("quantize", group_kernel<T>, blocks_for(warps, kThreads / 32, kMostAcross), kThreads, 0, stream, x,
                  groups, cols, rule, upper, codes, scale);
  }
  if (vectors && rule.granularity == Granularity::block && tiles.down <= kMostDown) {
    const dim3 grid(static_cast<unsigned>(tiles.across), static_cast<unsigned>(tiles.down));
    return launch("quantize", block_kernel<T>, grid, kBlockThreads<T>, 0, stream, x, rows, cols, rule, upper, codes,
                  scale);
  }
  launch("quantize", tile_kernel<T>, blocks_for(tiles.down * tiles.across, 1), kThreads, 0, stream, x, tiles, rule,
         upper, codes, scale);
}

}  // namespace

template <class T>
void quantize(const T* x, std::int64_t rows, std::int64_t cols, const Rule& rule, e4m3* codes, float* scale,
              float upper, Stream stream) {
  if (rule.search == Search::mse) return quantize_mse(x, rows, cols, rule, codes, scale, stream);
  if (rule.granularity == Granularity::tensor) {
    return quantize_tensor(x, rows * cols, rule, upper, codes, scale, stream);
  }
  quantize_tiles(x, rows, cols, rule, upper, codes, scale, stream);
}

template void quantize<float>(const float*, std::int64_t, std::int64_t, const Rule&, e4m3*, float*, float, Stream);
template void quantize<bf16>(const bf16*, std::int64_t, std::int64_t, const Rule&, e4m3*, float*, float, Stream);
template void quantize<fp16>(const fp16*, std::int64_t, std::int64_t, const Rule&, e4m3*, float*, float, Stream);

}  // namespace fp8ref::cuda
