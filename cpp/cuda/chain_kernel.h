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
  int panels, chain, part;  // of 32 elements: in K, in a chain, in a part of K

  __host__ __device__ bool split() const { return part < panels; }
  /// Sums that each output keeps besides its accumulator.
  int kept() const { return (joined != Joined::one_chain) + split(); }
};

/// `accumulate` over k: split_k is 1 with scaled blocks.
inline ChainPlan chain_plan(Accumulate accumulate, Scales scales, std::int64_t k, std::int64_t split_k) {
  const auto panels = static_cast<int>((k + kChainDepth - 1) / kChainDepth);
  const auto part = static_cast<int>(split_depth(k, split_k) / kChainDepth);  // at least k without parts
  if (scales == Scales::blocks) return {Joined::scaled_blocks, panels, kMmaTile / kChainDepth, part};
  if (accumulate != Accumulate::sm90_wgmma_promoted) return {Joined::one_chain, panels, part, part};
  return {Joined::promoted, panels, kMmaTile / kChainDepth, part};
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

/// How far the walk over K has come.
struct ChainPlace {
  int panel = 0, in_chain = 0, in_part = 0, chain = 0;

  __device__ bool chain_ends(const ChainPlan& plan) const { return in_chain + 1 == plan.chain || part_ends(plan); }
  __device__ bool part_ends(const ChainPlan& plan) const {
    return in_part + 1 == plan.part || panel + 1 == plan.panels;
  }
  __device__ bool first_chain_of_part() const { return in_part == in_chain; }
  __device__ bool first_part() const { return panel == in_part; }
  __device__ void next(const ChainPlan& plan) {
    const bool new_chain = chain_ends(plan), new_part = part_ends(plan);
    ++panel;
    chain += new_chain;
    in_chain = new_chain ? 0 : in_chain + 1;
    in_part = new_part ? 0 : in_part + 1;
  }
};

/// Where a chain ends: its result joined with those before it, left in the accumulators.
template <class Job>
__device__ __forceinline__ void join_chain(const Job& job, const ChainTile& tile, const ChainView& view,
                                           const ChainPlace& place, float* sums, ChainOutputs& out) {
  const Joined joined = job.plan.joined;
  const bool ends_split = job.plan.split() && place.part_ends(job.plan);
  const auto scales = job.block_scales(tile, view, place.chain);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      float value = out.accumulator[r][c];
      if (joined != Joined::one_chain) {
        float& sum = kept_sum(sums, 0, r, c);
        const float before = place.first_chain_of_part() ? 0.0f : sum;  // results are never -0: this changes nothing
        value = joined == Joined::promoted ? add32(before, value) : scales.add(r, c, value, before);
        sum = value;
      }
      if (ends_split) {
        float& total = kept_sum(sums, joined != Joined::one_chain, r, c);
        value = place.first_part() ? value : add32(total, value);
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

/// The results, by the job, one after the other; it is told whose operands hold infinities or NaNs.
template <class Job>
__device__ __forceinline__ void finish_tile(const Job& job, const ChainTile& tile, const ChainView& view,
                                            std::uint32_t special, void* scratch, const ChainOutputs& out) {
  auto* flags = static_cast<std::uint32_t*>(scratch);
  auto* values = reinterpret_cast<float*>(flags + kChainThreads);
  flags[threadIdx.x] = special;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      values[(view.first_row() + r) * kChainTile + view.first_column() + c] = out.accumulator[r][c];
    }
  }
  __syncthreads();
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < kChainTile * kChainTile; i += kChainThreads) {
    const int row = i / kChainTile, column = i % kChainTile;
    if (row >= tile.rows.rows || tile.column + column >= job.columns()) continue;
    job.finish(tile, row, column, values[i], (flags[row] | flags[kChainTile + column]) != 0);
  }
}

/// The numbers of a unit with fp32 results, for operands of so many bytes.
template <Accumulate unit, int bytes>
constexpr TensorCore core_of() {
  return tensor_core(unit, bytes == 1 ? OperandClass::fp8 : OperandClass::fp16, OutDtype::float32);
}

/// Blocks of threads on a multiprocessor: with a second limb a thread needs more registers.
template <Accumulate unit, int bytes>
constexpr int resident_blocks() {
  return core_of<unit, bytes>().fraction_bits > kFirstLimb ? 2 : 3;
}

/// Job: plan, a_format, b_format, columns(), depth(), tile(), a_row(tile, i) and b_row(tile, j) (nullptr beyond the
/// end), begin(), block_scales(), finish().
template <Accumulate unit, int bytes, class Job>
__global__ void __launch_bounds__(kChainThreads, (resident_blocks<unit, bytes>())) chain_kernel(Job job) {
  constexpr TensorCore core = core_of<unit, bytes>();
  auto* panels = shared_memory<ChainPanel>();  // two stages, a and b
  auto* sums = reinterpret_cast<float*>(panels + 4);
  const ChainTile tile = job.tile();
  if (tile.rows.rows == 0) return;
  const int row = static_cast<int>(threadIdx.x) % kChainTile;
  const Side side = static_cast<int>(threadIdx.x) < kChainTile ? Side::a : Side::b;  // the same for a whole warp
  const unsigned char* codes = side == Side::a ? job.a_row(tile, row) : job.b_row(tile, row);
  const OperandFormat format = side == Side::a ? job.a_format : job.b_format;
  const auto view_of = [&](int stage) {
    return ChainView{panels[2 * stage], panels[2 * stage + 1], warp_index() / 2, warp_index() % 2};
  };
  ChainOutputs out;
  begin_chain(job, tile, view_of(0), true, out);
  std::uint32_t special = 0;
  RowCodes<bytes> next = load_codes<bytes>(codes, 0, job.depth());
#pragma unroll 1
  for (ChainPlace place; place.panel < job.plan.panels; place.next(job.plan)) {
    const int stage = place.panel % 2;
    special |= special_codes(format, next);
    if constexpr (core.order == Order::rewritten) next = rewritten_order(next);
    fill_row(side, format, next, row, panels[2 * stage + (side == Side::b)]);
    next = load_codes<bytes>(codes, (place.panel + std::int64_t{1}) * kChainDepth, job.depth());
    __syncthreads();  // the other stage is free: what read it came before this
    if (place.panel > 0 && place.in_chain == 0) begin_chain(job, tile, view_of(stage), false, out);
    run_steps<core>(view_of(stage), out);
    if (place.chain_ends(job.plan)) join_chain(job, tile, view_of(stage), place, sums, out);
  }
  __syncthreads();
  finish_tile(job, tile, view_of(0), special, panels, out);
}

template <Accumulate unit, int bytes, class Job>
void launch_chains(const char* op, const Job& job, std::int64_t row_tiles, cudaStream_t stream) {
  const std::size_t shared =
      4 * sizeof(ChainPanel) + static_cast<std::size_t>(job.plan.kept()) * kRows * kColumns * kChainThreads * 4;
  const dim3 grid(static_cast<unsigned>(row_tiles),
                  static_cast<unsigned>((job.columns() + kChainTile - 1) / kChainTile));
  launch(op, chain_kernel<unit, bytes, Job>, grid, kChainThreads, shared, stream, job);
}

}  // namespace fp8ref::cuda
