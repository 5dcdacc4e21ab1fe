// SPDX-License-Identifier: Apache-2.0
// Exact products with a scale for every 128 of k (spec/scaled_mm.md, "Block scales"). One kernel writes the exact dots
// of the blocks, fp64 numbers; another scales and adds them, a thread for each output. The dots of some rows at a time
// lie in a workspace: per weight they are rows / 16 bytes, written and read, so for few rows they are little beside it.
#include "cuda/exact_f16.h"
#include "cuda/exact_sum.h"

namespace fp8ref::cuda {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps, kWeights = 2, kWidth = 1;
static_assert(kScaleBlock == 2 * kChunk);
using Sums = FewRows<kWeights, kWidth>;

/// The dots of rows `first` to `first + rows - 1`: (blocks, rows, n); NaN where a NaN code takes part.
struct Dots {
  double* data;
  std::int64_t first, rows, n;

  FP8REF_HD double& at(std::int64_t block, std::int64_t row, std::int64_t column) const {
    return data[(block * rows + row - first) * n + column];
  }
};

/// The warps of a block take turns with the blocks of k.
template <bool aligned>
__global__ void __launch_bounds__(kThreads) dots_kernel(GroupedMmArgs args, Dots dots, std::int64_t row_tiles) {
  const RowTile tile = row_tile(args, blockIdx.x % row_tiles, Sums::kRows);
  if (tile.rows <= 0 || tile.first >= dots.first + dots.rows || tile.first + tile.rows <= dots.first) return;
  const std::int64_t first_column = blockIdx.x / row_tiles * Sums::kColumns;
  const int depth = static_cast<int>(args.all.k);
  Sums sums(args.all, Span{0, args.all.k, nullptr}, tile, first_column);
  for (int k = warp_index() * kScaleBlock; k < depth; k += kWarps * kScaleBlock) {
    const auto lower = sums.template load<aligned>(k, depth), upper = sums.template load<aligned>(k + kChunk, depth);
    sums.clear();
    sums.add(lower);
    sums.add(upper);
    sums.for_sums([&](int row, int column, double sum) {
      const std::int64_t i = tile.first + row, j = first_column + column;
      const bool wanted = row < tile.rows && i >= dots.first && i < dots.first + dots.rows && j < args.all.n;
      if (wanted) dots.at(k / kScaleBlock, i, j) = sum;
    });
  }
}

/// One output and what belongs to it.
struct Output {
  const ScaledMmArgs& args;
  const Dots& dots;
  std::int64_t row, column, blocks;
  const float *a_scale, *b_scale, *bias;

  /// The order of a kernel: RN32 of each dot, scaled and added.
  __device__ float ordered() const {
    float sum = 0;
    for (std::int64_t t = 0; t < blocks; ++t) {
      sum = add_block(rn32(dots.at(t, row, column)), a_scale[t], b_scale[t], sum, args.epilogue);
    }
    return add_bias(sum, bias);
  }

  /// One rounding of the exact sum, in integers of any size.
  __device__ float exact() const {
    BlockSum sum;
    for (std::int64_t t = 0; t < blocks; ++t) sum.add(a_scale[t], b_scale[t], dots.at(t, row, column));
    if (bias != nullptr) sum.add(*bias);
    return sum.rn32();
  }

  /// The same by an fp64 sum with a bound of its error, if both ends of that interval give one output [ROUND-CERTIFY].
  __device__ float certified() const {
    double sum = 0, magnitude = 0;
    for (std::int64_t t = 0; t < blocks; ++t) {  // 48 bits of the scales, 43 of the dot: rounded once, and once added
      const double term = mul64(mul64(a_scale[t], b_scale[t]), dots.at(t, row, column));
      sum = add64(sum, term);
      magnitude = add64(magnitude, term < 0 ? -term : term);
    }
    const double added = bias == nullptr ? 0 : static_cast<double>(*bias);
    if (!(magnitude < INFINITY) || !(sub64(added, added) == 0)) return exact();
    const double error = mul64(magnitude, static_cast<double>(blocks + 4) * 0x1p-52);
    const float low = end(sub64(sum, error), added), high = end(add64(sum, error), added);
    const bool same_sign = (bit_cast<std::uint32_t>(low) ^ bit_cast<std::uint32_t>(high)) >> 31 == 0;
    return same_sign && output_bits(args, low) == output_bits(args, high) ? low : exact();
  }

 private:
  __device__ float end(double sum, double added) const { return bias == nullptr ? rn32(sum) : rn32_sum(sum, added); }
};

__global__ void __launch_bounds__(kThreads) sums_kernel(GroupedMmArgs args, Dots dots) {
  const ScaledMmArgs& all = args.all;
  const std::int64_t blocks = (all.k + kScaleBlock - 1) / kScaleBlock;
  for (std::int64_t index = grid_thread(); index < dots.rows * all.n; index += grid_threads()) {
    const std::int64_t i = dots.first + index / all.n, j = index % all.n;
    const std::int64_t expert = args.offsets == nullptr ? 0 : expert_of_row(args.offsets, args.experts, i);
    if (expert < 0) continue;
    const Output output{
        all, dots, i, j, blocks, all.a_scale.of_row(i), b_scales(args, expert, j), bias_of(args, expert, j)};
    store_output(all, i, j, ordered_blocks(all.epilogue) ? output.ordered() : output.certified());
  }
}

}  // namespace

void scaled_mm_blocks(const GroupedMmArgs& args, Stream stream, std::int64_t workspace) {
  const ScaledMmArgs& all = args.all;
  const std::int64_t blocks = (all.k + kScaleBlock - 1) / kScaleBlock, row_dots = blocks * all.n;
  const std::int64_t fitting = workspace / static_cast<std::int64_t>(sizeof(double)) / (row_dots < 1 ? 1 : row_dots);
  const std::int64_t rows = fitting < 1 ? 1 : fitting < all.m ? fitting : all.m;
  const Workspace<double> memory("scaled_mm", rows * row_dots, stream);
  const std::int64_t row_tiles = most_row_tiles(args, Sums::kRows);
  const std::int64_t column_tiles = (all.n + Sums::kColumns - 1) / Sums::kColumns;
  for (std::int64_t first = 0; first < all.m; first += rows) {
    const Dots dots{memory.get(), first, all.m - first < rows ? all.m - first : rows, all.n};
    launch("scaled_mm", aligned_codes(all) ? dots_kernel<true> : dots_kernel<false>,
           static_cast<unsigned>(row_tiles * column_tiles), kThreads, 0, stream, args, dots, row_tiles);
    launch("scaled_mm", sums_kernel, blocks_for(dots.rows * all.n, kThreads), kThreads, 0, stream, args, dots);
  }
}

}  // namespace fp8ref::cuda
