// SPDX-License-Identifier: Apache-2.0
// linear for many rows of x: float64 tensor cores over tiles of operands that are widened, once per block, on their way
// to shared memory. Order and fusing of the additions are free: the certificate covers them. A row with NaN or Inf
// reaches no accumulator but its own, and its outputs stay open.
#include "cuda/linear.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256, kWarpRows = 2, kWarpColumns = 4;  // the warps of a block, and how they share a tile
constexpr int kDepth = 16;                                      // elements of k of a stage
constexpr int kStride = kDepth + 4;  // doubles from row to row: a fragment's 4 x 4 of half a warp are in 16 banks
constexpr int kPiece = 8;            // elements that a thread moves at once: 16 bytes of a row

/// One operand's part of a stage on its way: global memory, registers, shared memory.
template <int rows, bool aligned>
struct Panel {
  static constexpr int kPieces = rows * kDepth / kPiece;
  static constexpr int kEach = (kPieces + kThreads - 1) / kThreads;

  std::uint32_t pair[kEach][kPiece / 2];

  /// Rows past the last and elements past k are zeros.
  __device__ void load(const bf16* data, std::int64_t row, std::int64_t count, std::int64_t from, std::int64_t k) {
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int piece = static_cast<int>(threadIdx.x) + e * kThreads;
      const std::int64_t i = row + piece / (kDepth / kPiece), c = from + piece % (kDepth / kPiece) * kPiece;
      const bf16* source = data + i * k + c;
      uint4 v = {0, 0, 0, 0};
      if constexpr (aligned) {
        if (piece < kPieces && i < count && c < k) v = load_as<uint4>(source);
      } else if (piece < kPieces && i < count) {
        std::uint32_t words[kPiece / 2] = {};
        for (int j = 0; j < kPiece && c + j < k; ++j) {
          words[j / 2] |= static_cast<std::uint32_t>(source[j].bits) << (j % 2 * 16);
        }
        v = {words[0], words[1], words[2], words[3]};
      }
      pair[e][0] = v.x, pair[e][1] = v.y, pair[e][2] = v.z, pair[e][3] = v.w;
    }
  }

  __device__ void store(double* tile) const {
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int piece = static_cast<int>(threadIdx.x) + e * kThreads;
      if (piece >= kPieces) continue;
      double* to = tile + piece / (kDepth / kPiece) * kStride + piece % (kDepth / kPiece) * kPiece;
#pragma unroll
      for (int j = 0; j < kPiece / 2; ++j) {
        const float low = bit_cast<float>(pair[e][j] << 16), high = bit_cast<float>(pair[e][j] & 0xFFFF0000u);
        *reinterpret_cast<double2*>(to + 2 * j) = {static_cast<double>(low), static_cast<double>(high)};
      }
    }
  }
};

/// The part of a tile that a warp makes: `m_tiles` x `n_tiles` results of mma_f64.
template <int m_tiles, int n_tiles>
__device__ __forceinline__ void multiply(const double* x, const double* w, double (&sums)[m_tiles][n_tiles][4]) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int k = 0; k < kDepth; k += 8) {
    double a[m_tiles][4], b[n_tiles][2];
#pragma unroll
    for (int i = 0; i < m_tiles; ++i) {
#pragma unroll
      for (int r = 0; r < 4; ++r) a[i][r] = x[(16 * i + g + 8 * (r % 2)) * kStride + k + t + 4 * (r / 2)];
    }
#pragma unroll
    for (int j = 0; j < n_tiles; ++j) {
#pragma unroll
      for (int r = 0; r < 2; ++r) b[j][r] = w[(8 * j + g) * kStride + k + t + 4 * r];
    }
#pragma unroll
    for (int i = 0; i < m_tiles; ++i) {
#pragma unroll
      for (int j = 0; j < n_tiles; ++j) mma_f64(sums[i][j], a[i], b[j]);
    }
  }
}

/// One tile of out per block. The next stage is loaded to registers while the tensor cores work on this one.
template <int rows, int columns, bool aligned>
__global__ void __launch_bounds__(kThreads, 1) linear_tile_kernel(LinearProblem p, std::int64_t row_tiles) {
  constexpr int m_tiles = rows / (16 * kWarpRows), n_tiles = columns / (8 * kWarpColumns);
  constexpr int kStage = (rows + columns) * kStride;
  double* const stages = shared_memory<double>();
  const std::int64_t row = blockIdx.x % row_tiles * rows, column = blockIdx.x / row_tiles * columns;
  const int warp_row = warp_index() / kWarpColumns * 16 * m_tiles,
            warp_column = warp_index() % kWarpColumns * 8 * n_tiles;
  Panel<rows, aligned> x;
  Panel<columns, aligned> w;
  double sums[m_tiles][n_tiles][4] = {};
  x.load(p.x, row, p.m, 0, p.k);
  w.load(p.w, column, p.n, 0, p.k);
  int stage = 0;
  for (std::int64_t from = 0; from < p.k; from += kDepth, stage ^= 1) {
    double* const x_tile = stages + stage * kStage;
    double* const w_tile = x_tile + rows * kStride;
    x.store(x_tile);
    w.store(w_tile);
    __syncthreads();  // and the other stage is free: all have left the multiplications of the step before
    if (from + kDepth < p.k) {
      x.load(p.x, row, p.m, from + kDepth, p.k);
      w.load(p.w, column, p.n, from + kDepth, p.k);
    }
    multiply(x_tile + warp_row * kStride, w_tile + warp_column * kStride, sums);
  }
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int i = 0; i < m_tiles; ++i) {
#pragma unroll
    for (int j = 0; j < n_tiles; ++j) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const std::int64_t to_row = row + warp_row + 16 * i + g + 8 * (r / 2);
        const std::int64_t to_column = column + warp_column + 8 * j + 2 * t + r % 2;
        if (to_row < p.m && to_column < p.n) linear_finish(p, to_row, to_column, sums[i][j][r]);
      }
    }
  }
}

template <int rows, int columns>
void start(const LinearProblem& p, cudaStream_t stream) {
  const std::int64_t row_tiles = (p.m + rows - 1) / rows, column_tiles = (p.n + columns - 1) / columns;
  launch("linear",
         rows_aligned(p.x, p.k) && rows_aligned(p.w, p.k) ? linear_tile_kernel<rows, columns, true>
                                                          : linear_tile_kernel<rows, columns, false>,
         static_cast<unsigned>(row_tiles * column_tiles), kThreads, 2 * (rows + columns) * kStride * sizeof(double),
         stream, p, row_tiles);
}

}  // namespace

void linear_tile(const LinearProblem& p, cudaStream_t stream) {
  const std::int64_t large_tiles = ((p.m + 127) / 128) * ((p.n + 127) / 128);
  if (p.m <= 32) {
    start<32, 64>(p, stream);
  } else if (large_tiles < 2 * device_facts().multiprocessors) {
    start<64, 64>(p, stream);
  } else {
    start<128, 128>(p, stream);
  }
}

}  // namespace fp8ref::cuda
