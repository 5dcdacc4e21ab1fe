// SPDX-License-Identifier: Apache-2.0
// scaled_mm and grouped_mm by any tensor core, on CUDA cores: the chains of chain_kernel.h with scales around them.
#include "cuda/chain_kernel.h"
#include "cuda/chains.h"
#include "fp8ref/errors.h"
#include "fp8ref/scaled_mm.h"

namespace fp8ref::cuda {
namespace {

/// One output of operands that hold infinities, by the scalar semantics.
template <class A, class B>
__device__ __noinline__ float special_value(const GroupedMmArgs& args, std::int64_t expert, std::int64_t i,
                                            std::int64_t j) {
  const ScaledMmArgs& all = args.all;
  const A* a = reinterpret_cast<const A*>(a_codes(all, i));
  const B* b = reinterpret_cast<const B*>(b_codes(all, expert, j));
  const float *a_scale = all.a_scale.of_row(i), *b_scale = b_scales(args, expert, j);
  const float* bias = bias_of(args, expert, j);
  if (all.scales == Scales::blocks) {
    return scaled_mm_block_element(a, b, all.k, a_scale, b_scale, bias, all.accumulate, all.epilogue);
  }
  return scaled_mm_element(a, b, all.k, *a_scale, *b_scale, bias, all.accumulate, all.epilogue, all.split_k);
}

/// The scales of a block of k for the outputs of a thread.
struct BlockScales {
  float a[kRows], b[kColumns];
  Epilogue epilogue;

  __device__ float add(int r, int c, float dot, float sum) const { return add_block(dot, a[r], b[c], sum, epilogue); }
};

struct ScaledJob {
  GroupedMmArgs args;
  ChainPlan plan;
  OperandFormat a_format, b_format;

  __host__ __device__ std::int64_t columns() const { return args.all.n; }
  __device__ std::int64_t depth() const { return args.all.k; }
  __device__ ChainTile tile() const {
    return {row_tile(args, blockIdx.x, kChainTile), static_cast<std::int64_t>(blockIdx.y) * kChainTile};
  }
  __device__ const unsigned char* a_row(const ChainTile& tile, int i) const {
    return i < tile.rows.rows ? a_codes(args.all, tile.rows.first + i) : nullptr;
  }
  __device__ const unsigned char* b_row(const ChainTile& tile, int j) const {
    return tile.column + j < args.all.n ? b_codes(args.all, tile.rows.expert, tile.column + j) : nullptr;
  }
  __device__ float begin(const ChainTile&, int, int) const { return 0; }

  /// Rows and columns beyond the end take the scales of the last ones.
  __device__ BlockScales block_scales(const ChainTile& tile, const ChainView& view, int block) const {
    BlockScales scales = {{}, {}, args.all.epilogue};
    if (plan.joined != Joined::scaled_blocks) return scales;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int i = view.first_row() + r, last = tile.rows.rows - 1;
      scales.a[r] = args.all.a_scale.of_row(tile.rows.first + (i < last ? i : last))[block];
    }
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const std::int64_t j = tile.column + view.first_column() + c, last = args.all.n - 1;
      scales.b[c] = b_scales(args, tile.rows.expert, j < last ? j : last)[block];
    }
    return scales;
  }

  __device__ void finish(const ChainTile& tile, int i, int j, float accumulator, bool special) const {
    const std::int64_t row = tile.rows.first + i, column = tile.column + j, expert = tile.rows.expert;
    const bool a5 = args.all.a_type == Operand::e5m2, b5 = args.all.b_type == Operand::e5m2;
    if (special && (a5 || b5)) {
      const float value = !b5  ? special_value<e5m2, e4m3>(args, expert, row, column)
                          : a5 ? special_value<e5m2, e5m2>(args, expert, row, column)
                               : special_value<e4m3, e5m2>(args, expert, row, column);
      return store_output(args.all, row, column, value);
    }
    if (special) accumulator = mma_nan<float>();
    if (args.all.scales == Scales::values) return finish_output(args, expert, row, column, accumulator);
    store_output(args.all, row, column, add_bias(accumulator, bias_of(args, expert, column)));
  }
};

template <Accumulate unit>
void run(const GroupedMmArgs& args, cudaStream_t stream) {
  constexpr Order order = core_of<unit, 1>().order;
  const ScaledMmArgs& all = args.all;
  const ScaledJob job{args, chain_plan(all.accumulate, all.scales, all.k, all.split_k),
                      operand_format(all.a_type, order), operand_format(all.b_type, order)};
  launch_chains<unit, 1>("scaled_mm", job, most_row_tiles(args, kChainTile), stream);
}

}  // namespace

void chain_grouped_mm(const GroupedMmArgs& args, Stream stream) {
  if (args.all.m == 0 || args.all.n == 0 || args.experts == 0) return;
  switch (unit_of(args.all.accumulate)) {
    case Accumulate::sm89_mma:
      return run<Accumulate::sm89_mma>(args, stream);
    case Accumulate::sm90_mma_sync:
      return run<Accumulate::sm90_mma_sync>(args, stream);
    case Accumulate::sm90_wgmma:
      return run<Accumulate::sm90_wgmma>(args, stream);
    case Accumulate::sm100_tcgen05:
    case Accumulate::sm120_mma: {
      static_assert(core_of<Accumulate::sm100_tcgen05, 1>() == core_of<Accumulate::sm120_mma, 1>());
      return run<Accumulate::sm120_mma>(args, stream);
    }
    default:
      throw OpError("scaled_mm: the tensor core has no such operands");
  }
}

void chain_scaled_mm(const ScaledMmArgs& args, Stream stream) { chain_grouped_mm({args, 1, nullptr, 0}, stream); }

}  // namespace fp8ref::cuda
