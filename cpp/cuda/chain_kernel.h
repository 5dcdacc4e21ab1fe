// SPDX-License-Identifier: Apache-2.0
// The kernel of emulated chains: tiles of 64 x 64 outputs, 4 warps of 32 x 32, any unit with fp32 results. A job says
// what the operands are and what becomes of the accumulators (chains.cu, mma.cu). Internal.
#pragma once

#include <cstdint>

#include "cuda/chain_step.h"
#include "cuda/launch.h"
#include "cuda/scaled_mm.h"

namespace fp8ref::cuda {

/// What K consists of: one chain, or a chain for each tile of 128, added up [MMA-PROMOTE] or scaled and added up
/// [MM-BLOCK-ORDERS]; and all that once for every part of K [MMA-SPLIT-K].
enum class Joined { one_chain, promoted, scaled_blocks };
struct ChainPlan {
  Joined joined;
  std::int64_t chain, part;  // panels of a chain, and of a part of K
  bool split;

  /// Sums that each output keeps besides its accumulator.
  int kept() const { return (joined != Joined::one_chain) + split; }
};

/// `accumulate` over k: split_k is 1 with scaled blocks.
inline ChainPlan chain_plan(Accumulate accumulate, bool scaled_blocks, std::int64_t k, std::int64_t split_k) {
  const bool promoted = accumulate == Accumulate::sm90_wgmma_promoted && !scaled_blocks;
  const std::int64_t depth = split_depth(k, split_k), part = (depth < kChainDepth ? kMmaTile : depth) / kChainDepth;
  const Joined joined = scaled_blocks ? Joined::scaled_blocks : promoted ? Joined::promoted : Joined::one_chain;
  return {joined, joined == Joined::one_chain ? part : kMmaTile / kChainDepth, part, part * kChainDepth < k};
}

/// A tile of the output; columns are cut off at n, not here.
struct ChainTile {
  RowTile rows;
  std::int64_t column;
};

/// The place of an output's sum in shared memory, one for each thread.
__device__ __forceinline__ float& kept_sum(float* sums, int which, int row, int column) {
  return sums[((which * kRows + row) * kColumns + column) * kChainThreads + static_cast<int>(threadIdx.x)];
}

/// Where a chain ends with panel `last`: its result joined with those before it, left in the accumulators.
template <class Job>
__device__ __forceinline__ void join_chain(const Job& job, const ChainTile& tile, const ChainView& view,
                                           std::int64_t last, bool part_ends, float* sums, ChainOutputs& out) {
  const ChainPlan& plan = job.plan;
  const std::int64_t chain = last / plan.chain, part = last / plan.part;
  const bool joined = plan.joined != Joined::one_chain, fresh = last % plan.part < plan.chain;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      float value = out.accumulator[r][c];
      if (joined) {
        float& sum = kept_sum(sums, 0, r, c);
        const float before = fresh ? 0.0f : sum;  // results are never -0, so 0 changes nothing
        value = plan.joined == Joined::promoted
                    ? add32(before, value)
                    : job.join(tile, view.first_row() + r, view.first_column() + c, chain, value, before);
        sum = value;
      }
      if (plan.split && part_ends) {
        float& total = kept_sum(sums, joined, r, c);
        value = part == 0 ? value : add32(total, value);
        total = value;
      }
      out.accumulator[r][c] = value;
    }
  }
}

template <class Job>
__device__ __forceinline__ void begin_chain(const Job& job, const ChainTile& tile, const ChainView& view, bool first,
                                            ChainOutputs& out) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      out.accumulator[r][c] = first ? job.begin(tile, view.first_row() + r, view.first_column() + c) : 0.0f;
    }
  }
}

/// The results, by the job; it is told whose operands hold infinities or NaNs.
template <class Job>
__device__ __forceinline__ void finish_tile(const Job& job, const ChainTile& tile, const ChainView& view,
                                            const std::uint32_t* special, const ChainOutputs& out) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int row = view.first_row() + r;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int column = view.first_column() + c;
      if (row < tile.rows.rows && tile.column + column < job.columns()) {
        job.finish(tile, row, column, out.accumulator[r][c], (special[row] | special[kChainTile + column]) != 0);
      }
    }
  }
}

/// Job: columns(), depth(), tile(), a_row(tile, i) and b_row(tile, j) (nullptr beyond the end), format(side), begin(),
/// join(), finish().
template <TensorCore core, int bytes, class Job>
__global__ void __launch_bounds__(kChainThreads, 3) chain_kernel(Job job) {
  auto* panels = shared_memory<ChainPanel>();  // two stages, a and b
  auto* sums = reinterpret_cast<float*>(panels + 4);
  const ChainTile tile = job.tile();
  if (tile.rows.rows == 0) return;
  const std::int64_t k = job.depth(), steps = (k + kChainDepth - 1) / kChainDepth;
  const int thread = static_cast<int>(threadIdx.x), row = thread % kChainTile;
  const bool fills_a = thread < kChainTile;  // the same for a whole warp
  const unsigned char* codes = fills_a ? job.a_row(tile, row) : job.b_row(tile, row);
  const OperandFormat format = fills_a ? job.a_format : job.b_format;
  std::uint32_t special = 0;
  const auto fill = [&](RowCodes<bytes> next, std::int64_t step) {
    special |= special_codes(format, next);
    if constexpr (core.order == Order::rewritten) next = rewritten_order(next);
    ChainPanel* panel = panels + step % 2 * 2;
    if (fills_a) return fill_row<Side::a>(format, next, row, panel[0]);
    fill_row<Side::b>(format, next, row, panel[1]);
  };
  const auto view_of = [&](std::int64_t step) {
    const ChainPanel* panel = panels + step % 2 * 2;
    return ChainView{panel[0], panel[1], warp_index() / 2, warp_index() % 2};
  };
  ChainOutputs out;
  begin_chain(job, tile, view_of(0), true, out);
  fill(load_codes<bytes>(codes, 0, k), 0);
  __syncthreads();
#pragma unroll 1
  for (std::int64_t step = 0; step < steps; ++step) {
    RowCodes<bytes> next = {};
    if (step + 1 < steps) next = load_codes<bytes>(codes, (step + 1) * kChainDepth, k);
    const ChainView view = view_of(step);
    if (step > 0 && step % job.plan.chain == 0) begin_chain(job, tile, view, false, out);
    run_steps<core>(view, out);
    const bool part_ends = step + 1 == steps || (step + 1) % job.plan.part == 0;
    if (part_ends || (step + 1) % job.plan.chain == 0) join_chain(job, tile, view, step, part_ends, sums, out);
    if (step + 1 < steps) fill(next, step + 1);
    __syncthreads();
  }
  auto* flags = reinterpret_cast<std::uint32_t*>(panels);
  flags[thread] = special;
  __syncthreads();
  finish_tile(job, tile, view_of(0), flags, out);
}

template <TensorCore core, int bytes, class Job>
void launch_chains(const char* op, const Job& job, std::int64_t row_tiles, cudaStream_t stream) {
  const std::size_t shared =
      4 * sizeof(ChainPanel) + static_cast<std::size_t>(job.plan.kept()) * kRows * kColumns * kChainThreads * 4;
  const dim3 grid(static_cast<unsigned>(row_tiles),
                  static_cast<unsigned>((job.columns() + kChainTile - 1) / kChainTile));
  launch(op, chain_kernel<core, bytes, Job>, grid, kChainThreads, shared, stream, job);
}

}  // namespace fp8ref::cuda
