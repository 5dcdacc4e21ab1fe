// SPDX-License-Identifier: Apache-2.0
// scaled_mm and grouped_mm by any tensor core, on CUDA cores: the chains of chain_kernel.h with scales around them.
#include "cuda/chain_kernel.h"
#include "cuda/chains.h"
#include "fp8ref/errors.h"
#include "fp8ref/scaled_mm.h"

namespace fp8ref::cuda {
namespace {

/// The accumulator over k of operands that hold infinities or NaNs, or a number's if here they do not: what they force
/// does not depend on the steps, chains and parts, which are finite otherwise [MMA-SPECIAL].
template <TensorCore core, class A, class B>
__device__ __noinline__ float special_dot(const std::uint8_t* a_row, const std::uint8_t* b_row, std::int64_t k) {
  const A* a = reinterpret_cast<const A*>(a_row);
  const B* b = reinterpret_cast<const B*>(b_row);
  Specials specials;
  for (std::int64_t i = 0; i < k; ++i) specials.add_product(a[i], b[i]);
  return specials.any() ? specials.result<float>() : tensor_core_chain(core, a, b, k, 0.0f);
}

/// The scales of a block of k for the outputs of a thread.
struct BlockScales {
  float a[kRows], b[kColumns];
  Epilogue epilogue;

  __device__ float add(int r, int c, float dot, float sum) const { return add_block(dot, a[r], b[c], sum, epilogue); }
};

template <TensorCore core>
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

  /// special_dot over elements first .. first + k - 1, where E5M2 has its infinities.
  __device__ float special_value(std::int64_t expert, std::int64_t i, std::int64_t j, std::int64_t first,
                                 std::int64_t k) const {
    const std::uint8_t *a = a_codes(args.all, i) + first, *b = b_codes(args.all, expert, j) + first;
    const bool a5 = args.all.a_type == Operand::e5m2, b5 = args.all.b_type == Operand::e5m2;
    if (a5) return b5 ? special_dot<core, e5m2, e5m2>(a, b, k) : special_dot<core, e5m2, e4m3>(a, b, k);
    return b5 ? special_dot<core, e4m3, e5m2>(a, b, k) : mma_nan<float>();
  }

  __device__ void finish(const ChainTile& tile, int i, int j, float accumulator, bool special) const {
    const std::int64_t row = tile.rows.first + i, column = tile.column + j, expert = tile.rows.expert;
    const ScaledMmArgs& all = args.all;
    if (all.scales == Scales::values) {
      return finish_output(args, expert, row, column,
                           special ? special_value(expert, row, column, 0, all.k) : accumulator);
    }
    if (special) {
      accumulator = 0;
      for (std::int64_t p = 0; p < all.k; p += kScaleBlock) {
        const std::int64_t block = p / kScaleBlock;
        const float dot = special_value(expert, row, column, p, all.k - p < kScaleBlock ? all.k - p : kScaleBlock);
        accumulator = add_block(dot, all.a_scale.of_row(row)[block], b_scales(args, expert, column)[block], accumulator,
                                all.epilogue);
      }
    }
    store_output(all, row, column, add_bias(accumulator, bias_of(args, expert, column)));
  }
};

template <Accumulate unit>
void run(const GroupedMmArgs& args, cudaStream_t stream) {
  constexpr TensorCore core = core_of<unit, 1>();
  const ScaledMmArgs& all = args.all;
  const ScaledJob<core> job{args, chain_plan(all.accumulate, all.scales, all.k, all.split_k),
                            operand_format(all.a_type, core.order), operand_format(all.b_type, core.order)};
  launch_chains<unit, 1>("scaled_mm", job, most_row_tiles(args, kChainTile), stream);
}

}  // namespace

void chain_grouped_mm(const GroupedMmArgs& args, Stream stream) {
  if (args.all.m == 0 || args.all.n == 0 || args.experts == 0) return;
  if (args.all.scales == Scales::blocks && !ordered_blocks(args.all.epilogue)) {
    throw OpError("scaled_mm: a tensor core with scales of blocks needs an epilogue of blocks");
  }
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
