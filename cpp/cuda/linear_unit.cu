// SPDX-License-Identifier: Apache-2.0
// linear by the 16-bit tensor core of the GPU at hand, where that is the unit asked for: one chain per output, all of K
// in order, in one accumulator register [MMA-CHAIN]. So K is never split, neither between blocks nor between warps.
// Elements past K, and rows past the last, are zeros: a step over zeros changes nothing.
#include "cuda/linear.h"
#include "cuda/native_mma.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256, kWarpRows = 2, kWarpColumns = 4;
constexpr int kDepth = 32;                // elements of k of a stage
constexpr int kStages = 3;                // one is worked on while two are on their way
constexpr int kPiece = 8;                 // 16 bytes
constexpr int kStride = kDepth + kPiece;  // 80 bytes from row to row: the 8 x 4 words of a fragment are in 32 banks

struct UnitProblem {
  const bf16 *x, *w;
  std::int64_t m, n, k;
  const float* bias;
  bf16* out;
};

/// Starts the copy of rows x kDepth elements to shared memory; what is not there becomes zeros.
template <int rows, bool aligned>
__device__ __forceinline__ void copy_panel(const bf16* data, std::int64_t row, std::int64_t count, std::int64_t from,
                                           std::int64_t k, bf16* tile) {
  constexpr int kPieces = rows * kDepth / kPiece;
  for (int piece = static_cast<int>(threadIdx.x); piece < kPieces; piece += kThreads) {
    const int i = piece / (kDepth / kPiece), c = piece % (kDepth / kPiece) * kPiece;
    bf16* const to = tile + i * kStride + c;
    const bf16* const source = data + (row + i) * k + from + c;
    const std::int64_t left = row + i < count ? k - from - c : 0;
    if (aligned && left >= kPiece) {
      copy_async(to, source);
    } else {
      for (int j = 0; j < kPiece; ++j) to[j] = j < left ? source[j] : bf16{0};
    }
  }
}

__device__ __forceinline__ std::uint32_t pair_at(const bf16* at) { return load_as<std::uint32_t>(at); }

template <int rows, int columns, bool aligned>
__global__ void __launch_bounds__(kThreads) linear_unit_kernel(UnitProblem p, std::int64_t row_tiles) {
  constexpr int m_tiles = rows / (16 * kWarpRows), n_tiles = columns / (8 * kWarpColumns);
  constexpr int kStage = (rows + columns) * kStride;
  bf16* const stages = shared_memory<bf16>();
  const std::int64_t row = blockIdx.x % row_tiles * rows, column = blockIdx.x / row_tiles * columns;
  const int warp_row = warp_index() / kWarpColumns * 16 * m_tiles;
  const int warp_column = warp_index() % kWarpColumns * 8 * n_tiles;
  const int g = lane_index() / 4, t = lane_index() % 4;
  const auto copy = [&](std::int64_t step) {
    bf16* const tile = stages + step % kStages * kStage;
    if (step * kDepth < p.k) {
      copy_panel<rows, aligned>(p.x, row, p.m, step * kDepth, p.k, tile);
      copy_panel<columns, aligned>(p.w, column, p.n, step * kDepth, p.k, tile + rows * kStride);
    }
    commit_copies();  // a group per step, empty or not
  };
  float sums[m_tiles][n_tiles][4] = {};
  for (int step = 0; step < kStages - 1; ++step) copy(step);
  const std::int64_t steps = (p.k + kDepth - 1) / kDepth;
  for (std::int64_t step = 0; step < steps; ++step) {
    wait_copies<kStages - 2>();
    __syncthreads();  // this stage has come for all, and all have left the stage that is filled next
    copy(step + kStages - 1);
    const bf16* const x = stages + step % kStages * kStage + warp_row * kStride;
    const bf16* const w = stages + step % kStages * kStage + (rows + warp_column) * kStride;
#pragma unroll
    for (int k = 0; k < kDepth; k += 16) {
      std::uint32_t a[m_tiles][4], b[n_tiles][2];
#pragma unroll
      for (int i = 0; i < m_tiles; ++i) {
#pragma unroll
        for (int r = 0; r < 4; ++r)
          a[i][r] = pair_at(x + (16 * i + g + 8 * (r % 2)) * kStride + k + 2 * t + 8 * (r / 2));
      }
#pragma unroll
      for (int j = 0; j < n_tiles; ++j) {
#pragma unroll
        for (int r = 0; r < 2; ++r) b[j][r] = pair_at(w + (8 * j + g) * kStride + k + 2 * t + 8 * r);
      }
#pragma unroll
      for (int i = 0; i < m_tiles; ++i) {
#pragma unroll
        for (int j = 0; j < n_tiles; ++j) mma_bf16(sums[i][j], a[i], b[j]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < m_tiles; ++i) {
#pragma unroll
    for (int j = 0; j < n_tiles; ++j) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const std::int64_t to_row = row + warp_row + 16 * i + g + 8 * (r / 2);
        const std::int64_t to_column = column + warp_column + 8 * j + 2 * t + r % 2;
        if (to_row >= p.m || to_column >= p.n) continue;
        p.out[to_row * p.n + to_column] = linear_tail(sums[i][j][r], p.bias == nullptr ? nullptr : p.bias + to_column);
      }
    }
  }
}

template <int rows, int columns>
void start(const UnitProblem& p, cudaStream_t stream) {
  const std::int64_t row_tiles = (p.m + rows - 1) / rows, column_tiles = (p.n + columns - 1) / columns;
  launch("linear",
         rows_aligned(p.x, p.k) && rows_aligned(p.w, p.k) ? linear_unit_kernel<rows, columns, true>
                                                          : linear_unit_kernel<rows, columns, false>,
         static_cast<unsigned>(row_tiles * column_tiles), kThreads, kStages * (rows + columns) * kStride * sizeof(bf16),
         stream, p, row_tiles);
}

}  // namespace

bool linear_in_hardware(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
                        Accumulate unit, bf16* out, cudaStream_t stream) {
  const TensorCore core = tensor_core(unit, OperandClass::bf16, OutDtype::float32);
  if (!is_native(core, OperandClass::bf16, device_facts().capability)) return false;
  if (m == 0 || n == 0) return true;
  const UnitProblem problem{x, w, m, n, k, bias, out};
  const std::int64_t large_tiles = ((m + 127) / 128) * ((n + 127) / 128);
  if (m <= 32 || large_tiles < device_facts().multiprocessors) {
    start<32, 64>(problem, stream);
  } else {
    start<128, 128>(problem, stream);
  }
  return true;
}

}  // namespace fp8ref::cuda
