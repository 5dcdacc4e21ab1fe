// SPDX-License-Identifier: Apache-2.0
// attention for few queries over many keys, as in a decode step: bound by memory, so the keys are split over blocks,
// and k and v are read once for all heads of a group, on CUDA cores in float64. Scores: a thread for each key. Sums: a
// thread for each pair of columns. While one of k and v is worked on, the next tile of the other is on its way.
#include "cuda/attention.h"
#include "cuda/decode_bf16.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 128, kKeys = kThreads;  // keys of a tile
constexpr int kPiece = 8;                        // 16 bytes

/// The shared memory of a block.
template <int rows, int d>
struct Shared {
  static constexpr int kKeyStride = d + kPiece;      // the 16 bytes of 8 threads are in 32 banks
  static constexpr int kPairs = d / 2;               // threads that share the columns
  static constexpr int kGroups = kThreads / kPairs;  // and groups of them that share the keys
  double q[rows][d];                                 // 2^896 q
  double weights[kKeys][rows];                       // 2^896 w
  double row_error[rows];
  std::int64_t row_first[rows], row_end[rows];  // the keys that a row sees here; none of a row that is not there
  double sums[32];
  float largest[rows][kThreads / 32];
  int magnitudes[d];
  alignas(16) bf16 k[kKeys][kKeyStride];
  alignas(16) bf16 v[kKeys][d];
};

template <int stride, int d>
__device__ __forceinline__ void copy_keys(const bf16* from, std::int64_t token_stride, std::int64_t count,
                                          bf16 (*to)[stride]) {
  for (int piece = static_cast<int>(threadIdx.x); piece < kKeys * (d / kPiece); piece += kThreads) {
    const int j = piece / (d / kPiece), i = piece % (d / kPiece) * kPiece;
    if (j < count) copy_async(&to[j][i], from + j * token_stride + i);
  }
  commit_copies();
}

template <int rows, int d>
__device__ void load_queries(const AttentionRows& a, std::int64_t kv_head, std::int64_t first,
                             Shared<rows, d>& shared) {
  for (int r = warp_index(); r < rows; r += kThreads / 32) {
    const bool there = first + r < a.per_kv_head();
    double squares = 0;
    for (int i = lane_index(); i < d; i += 32) {
      const double x = there ? widen(a.args.q[a.offset(kv_head, first + r) + i]) : 0.0;
      shared.q[r][i] = shifted_up(x);
      squares = fma64(x, x, squares);
    }
    squares = warp_reduce(squares, [](double x, double y) { return x + y; });
    if (lane_index() == 0) shared.row_error[r] = attention_row_error(squares, d);
  }
}

/// The dots of one key with all rows, and its largest magnitude.
template <int rows, int d>
__device__ __forceinline__ int multiply_key(const Shared<rows, d>& shared, int j, double (&dots)[rows]) {
  int magnitude = 0;
#pragma unroll 4
  for (int i = 0; i < d; i += kPiece) {
    const uint4 words = load_as<uint4>(&shared.k[j][i]);
    const std::uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      const int low = static_cast<int>(pairs[p] & 0x7FFF), high = static_cast<int>(pairs[p] >> 16 & 0x7FFF);
      magnitude = magnitude > low ? magnitude : low;
      magnitude = magnitude > high ? magnitude : high;
      const double k[2] = {shifted_down(pairs[p] << 16), shifted_down(pairs[p])};
#pragma unroll
      for (int r = 0; r < rows; ++r) {
        const double2 q = load_as<double2>(&shared.q[r][i + 2 * p]);
        dots[r] = fma64(q.y, k[1], fma64(q.x, k[0], dots[r]));
      }
    }
  }
  return magnitude;
}

/// A thread's sums of a pair of columns over the keys of its group.
template <int rows>
struct PairSums {
  double numerators[rows][2] = {};
  int magnitudes[2] = {0, 0};
};

template <int rows, int d>
__device__ __forceinline__ void add_values(const Shared<rows, d>& shared, int pair, int group, int count,
                                           PairSums<rows>& sums) {
#pragma unroll 4
  for (int j = group; j < count; j += Shared<rows, d>::kGroups) {
    const std::uint32_t word = load_as<std::uint32_t>(&shared.v[j][2 * pair]);
    const int low = static_cast<int>(word & 0x7FFF), high = static_cast<int>(word >> 16 & 0x7FFF);
    sums.magnitudes[0] = sums.magnitudes[0] > low ? sums.magnitudes[0] : low;
    sums.magnitudes[1] = sums.magnitudes[1] > high ? sums.magnitudes[1] : high;
    const double v[2] = {shifted_down(word << 16), shifted_down(word)};
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      const double weight = shared.weights[j][r];
      sums.numerators[r][0] = fma64(weight, v[0], sums.numerators[r][0]);
      sums.numerators[r][1] = fma64(weight, v[1], sums.numerators[r][1]);
    }
  }
}

template <int rows, int d>
__global__ void __launch_bounds__(kThreads) attention_few_kernel(AttentionRows a, AttentionParts parts) {
  Shared<rows, d>& shared = *shared_memory<Shared<rows, d>>();
  const AttentionPlace place(parts, blockIdx.x);
  const std::int64_t first = place.tile * rows, stride = a.stride(), own = a.per_kv_head() - first;
  const int there = static_cast<int>(own < rows ? own : rows);
  const std::int64_t begin = place.begin(a, parts, first), end = place.end(a, parts, first, there);
  const bf16* const keys = a.args.k + place.kv_head * d;
  const bf16* const values = a.args.v + place.kv_head * d;
  const int key = static_cast<int>(threadIdx.x);
  const int pair = key % Shared<rows, d>::kPairs, group = key / Shared<rows, d>::kPairs;
  PairSums<rows> sums;
  double denominators[rows] = {};
  float largest[rows];
  for (int r = 0; r < rows; ++r) largest[r] = -INFINITY;
  if (begin < end) {
    copy_keys<Shared<rows, d>::kKeyStride, d>(keys + begin * stride, stride, end - begin, shared.k);
    copy_keys<d, d>(values + begin * stride, stride, end - begin, shared.v);
  }
  load_queries<rows, d>(a, place.kv_head, first, shared);
  for (int i = key; i < d; i += kThreads) shared.magnitudes[i] = 0;
  for (int r = key; r < rows; r += kThreads) {
    const std::int64_t seen = r < there ? a.visible(first + r) : 0;
    shared.row_first[r] = r < there ? a.first_visible(first + r) : 0;
    shared.row_end[r] = seen < end ? seen : end;
  }
  for (std::int64_t from = begin; from < end; from += kKeys) {
    wait_copies<1>();  // k
    __syncthreads();
    double dots[rows] = {};
    const double bound = widen(bf16{static_cast<std::uint16_t>(multiply_key<rows, d>(shared, key, dots))});
    Weight weights[rows];
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      weights[r] = {-INFINITY, 0};
      if (from + key >= shared.row_first[r] && from + key < shared.row_end[r]) {
        weights[r] =
            attention_weigh(dots[r], shared.row_error[r] * bound, a.args.q + a.offset(place.kv_head, first + r),
                            keys + (from + key) * stride, d, a.args.log2e_scale);
      }
      const float most = warp_reduce(weights[r].exponent, [](float x, float y) { return x > y ? x : y; });
      if (lane_index() == 0) shared.largest[r][warp_index()] = most;
    }
    __syncthreads();  // all have left k
    if (from + kKeys < end) {
      copy_keys<Shared<rows, d>::kKeyStride, d>(keys + (from + kKeys) * stride, stride, end - from - kKeys, shared.k);
    } else {
      commit_copies();  // a group all the same
    }
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      float most = largest[r];
      for (int warp = 0; warp < kThreads / 32; ++warp) {
        most = most > shared.largest[r][warp] ? most : shared.largest[r][warp];
      }
      const double factor = attention_rescale(largest[r], most);
      largest[r] = most;
      const double weight = attention_relative(weights[r].exponent, weights[r].significand, most);
      shared.weights[key][r] = shifted_up(weight);
      denominators[r] = denominators[r] * factor + weight;
      sums.numerators[r][0] *= factor;
      sums.numerators[r][1] *= factor;
    }
    wait_copies<1>();  // v
    __syncthreads();
    const int count = static_cast<int>(end - from < kKeys ? end - from : kKeys);
    if (group < Shared<rows, d>::kGroups) add_values<rows, d>(shared, pair, group, count, sums);
    __syncthreads();  // all have left v and the weights
    if (from + kKeys < end) {
      copy_keys<d, d>(values + (from + kKeys) * stride, stride, end - from - kKeys, shared.v);
    } else {
      commit_copies();
    }
  }
  wait_copies<0>();
  __syncthreads();
  // The groups' sums, in the memory of the weights or of k and v, which are done with.
  double* const all = reinterpret_cast<double*>(shared.k);
  static_assert(sizeof shared.k + sizeof shared.v >= sizeof(double) * Shared<rows, d>::kGroups * rows * d);
  for (int r = 0; r < rows; ++r) {
    const double denominator = block_reduce(denominators[r], shared.sums, [](double x, double y) { return x + y; });
    if (key == 0 && r < there) parts.parts[place.part(a, parts, first + r)] = {largest[r], denominator};
  }
  if (group < Shared<rows, d>::kGroups) {
    for (int i = 0; i < 2; ++i) {
      for (int r = 0; r < rows; ++r) all[(group * rows + r) * d + 2 * pair + i] = sums.numerators[r][i];
      atomicMax(&shared.magnitudes[2 * pair + i], sums.magnitudes[i]);
    }
  }
  __syncthreads();
  for (int index = key; index < there * d; index += kThreads) {
    double sum = 0;
    for (int g = 0; g < Shared<rows, d>::kGroups; ++g) sum += all[g * rows * d + index];
    parts.numerators[place.part(a, parts, first + index / d) * d + index % d] = sum;
  }
  for (int i = key; i < d; i += kThreads) place.magnitudes(a, parts)[i] = shared.magnitudes[i];
}

template <int rows, int d>
void start(const AttentionRows& a, const AttentionParts& parts, cudaStream_t stream) {
  launch("attention", attention_few_kernel<rows, d>,
         static_cast<unsigned>(parts.splits * parts.tiles * a.args.kv_heads), kThreads, sizeof(Shared<rows, d>), stream,
         a, parts);
}

template <int d>
void start_rows(const AttentionRows& a, const AttentionParts& parts, cudaStream_t stream) {
  if (parts.tile_rows == 1) return start<1, d>(a, parts, stream);
  if (parts.tile_rows == 2) return start<2, d>(a, parts, stream);
  return parts.tile_rows == 4 ? start<4, d>(a, parts, stream) : start<8, d>(a, parts, stream);
}

}  // namespace

void attention_few(const AttentionRows& a, const AttentionParts& parts, cudaStream_t stream) {
  if (a.args.head_dim == 64) return start_rows<64>(a, parts, stream);
  if (a.args.head_dim == 80) return start_rows<80>(a, parts, stream);
  return a.args.head_dim == 96 ? start_rows<96>(a, parts, stream) : start_rows<128>(a, parts, stream);
}

}  // namespace fp8ref::cuda
