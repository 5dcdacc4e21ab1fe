// SPDX-License-Identifier: Apache-2.0
// linear for few rows of x, as in a decode step: bound by memory, so every weight is read once, 16 bytes at a time, and
// used for all rows of x by float64 FMAs. A weight that is Inf or NaN becomes some number: its row stays open.
#include "cuda/decode_bf16.h"
#include "cuda/linear.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kChunk = 8;  // elements of k that a lane takes at once

struct Chunk {
  std::uint32_t pair[kChunk / 2];
};

template <bool aligned>
__device__ __forceinline__ Chunk load_chunk(const bf16* row, std::int64_t from, std::int64_t k) {
  Chunk chunk = {};
  if constexpr (aligned) {
    const uint4 v = load_as<uint4>(row + from);
    chunk = {{v.x, v.y, v.z, v.w}};
  } else {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      const std::uint32_t bits = from + i < k ? row[from + i].bits : 0;
      chunk.pair[i / 2] |= bits << (i % 2 * 16);
    }
  }
  return chunk;
}

/// A warp makes the outputs of `columns` rows of w for up to `rows` rows of x.
template <int rows, int columns, bool aligned>
__global__ void __launch_bounds__(kThreads) linear_few_kernel(LinearProblem p) {
  const std::int64_t group = static_cast<std::int64_t>(blockIdx.x) * (kThreads / 32) + warp_index();
  const std::int64_t first = group * columns;
  if (first >= p.n) return;  // the whole warp
  const bf16 *w[columns], *x[rows];
  for (int c = 0; c < columns; ++c) w[c] = p.w + (first + c < p.n ? first + c : p.n - 1) * p.k;
  for (int r = 0; r < rows; ++r) x[r] = p.x + (r < p.m ? r : p.m - 1) * p.k;
  double sums[rows][columns] = {};
#pragma unroll 2
  for (std::int64_t from = lane_index() * kChunk; from < p.k; from += 32 * kChunk) {
    Chunk weights[columns];
#pragma unroll
    for (int c = 0; c < columns; ++c) weights[c] = load_chunk<aligned>(w[c], from, p.k);
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      const Chunk values = load_chunk<aligned>(x[r], from, p.k);
#pragma unroll
      for (int i = 0; i < kChunk; ++i) {
        const double value = shifted_up(widen(bf16{static_cast<std::uint16_t>(values.pair[i / 2] >> (i % 2 * 16))}));
#pragma unroll
        for (int c = 0; c < columns; ++c) {
          const std::uint32_t pair = weights[c].pair[i / 2];
          sums[r][c] = fma64(value, shifted_down(i % 2 == 0 ? pair << 16 : pair), sums[r][c]);
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < rows; ++r) {
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      const double dot = warp_reduce(sums[r][c], [](double a, double b) { return a + b; });
      if (lane_index() == r * columns + c && r < p.m && first + c < p.n) linear_finish(p, r, first + c, dot);
    }
  }
}

template <int rows, int columns>
void start(const LinearProblem& p, cudaStream_t stream) {
  const std::int64_t groups = (p.n + columns - 1) / columns;
  launch("linear",
         rows_aligned(p.x, p.k) && rows_aligned(p.w, p.k) ? linear_few_kernel<rows, columns, true>
                                                          : linear_few_kernel<rows, columns, false>,
         blocks_for(groups, kThreads / 32, std::int64_t{1} << 30), kThreads, 0, stream, p);
}

}  // namespace

void linear_few(const LinearProblem& p, cudaStream_t stream) {
  // More columns per warp save conversions of x, fewer make more warps.
  const bool wide = p.n >= std::int64_t{64} * device_facts().multiprocessors;
  if (p.m == 1) {
    wide ? start<1, 4>(p, stream) : start<1, 2>(p, stream);
  } else if (p.m == 2) {
    wide ? start<2, 4>(p, stream) : start<2, 2>(p, stream);
  } else if (p.m <= 4) {
    wide ? start<4, 4>(p, stream) : start<4, 2>(p, stream);
  } else {
    start<8, 4>(p, stream);
  }
}

}  // namespace fp8ref::cuda
