// SPDX-License-Identifier: Apache-2.0
// Exact products for few rows on the FP16 tensor cores: every weight is read once.
#include "cuda/exact_f16.h"
#include "cuda/exact_sum.h"

namespace fp8ref::cuda {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;  // the warps of a block take turns with the chunks of k

template <int weights, int width, bool aligned>
__global__ void __launch_bounds__(kThreads) f16_kernel(GroupedMmArgs args, Span span, std::int64_t row_tiles) {
  using Sums = FewRows<weights, width>;
  const RowTile tile = row_tile(args, blockIdx.x % row_tiles, Sums::kRows);
  if (tile.rows <= 0) return;
  const std::int64_t first_column = blockIdx.x / row_tiles * Sums::kColumns;
  const int depth = static_cast<int>(span.depth);
  Sums sums(args.all, span, tile, first_column);
  int k = warp_index() * kChunk;
  if (k < depth) {
    typename Sums::Codes next = sums.template load<aligned>(k, depth);
    for (; k < depth; k += kWarps * kChunk) {
      const typename Sums::Codes codes = next;
      next = sums.template load<aligned>(k + kWarps * kChunk, depth);
      sums.add(codes);
    }
  }
  std::int64_t* shared = shared_memory<std::int64_t>();
  constexpr int kOutputs = Sums::kColumns * Sums::kRows;
  sums.for_sums([&](int row, int column, double sum) {
    shared[warp_index() * kOutputs + row * Sums::kColumns + column] =
        is_nan(sum) ? kNanSum : static_cast<std::int64_t>(mul64(sum, kProductScale));
  });
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kOutputs; i += kThreads) {
    const std::int64_t column = first_column + i % Sums::kColumns;
    const int row = i / Sums::kColumns;
    if (row >= tile.rows || column >= args.all.n) continue;
    std::int64_t sum = shared[i];
    for (int warp = 1; warp < kWarps; ++warp) sum = add_sums(sum, shared[warp * kOutputs + i]);
    finish_sum(args, span, tile.expert, tile.first + row, column, sum);
  }
}

template <int weights, int width, bool aligned = true>
void run(const GroupedMmArgs& args, Stream stream, std::int64_t most) {
  using Sums = FewRows<weights, width>;
  const std::int64_t row_tiles = most_row_tiles(args, Sums::kRows);
  const std::int64_t column_tiles = (args.all.n + Sums::kColumns - 1) / Sums::kColumns;
  for_spans(args, most, stream, [&](const Span& span) {
    launch("scaled_mm", f16_kernel<weights, width, aligned>, static_cast<unsigned>(row_tiles * column_tiles), kThreads,
           kWarps * Sums::kColumns * Sums::kRows * sizeof(std::int64_t), stream, args, span, row_tiles);
  });
}

}  // namespace

void scaled_mm_f16(const GroupedMmArgs& args, Stream stream, std::int64_t most) {
  if (!aligned_codes(args.all)) return run<1, 2, false>(args, stream, most);
  // 32 columns cost fewer instructions for each of them, 16 make more blocks: enough for every multiprocessor come
  // first.
  const bool many = args.all.n >= std::int64_t{2} * 32 * device_facts().multiprocessors;
  const bool narrow = args.all.m <= 8 * args.experts;
  if (many) return narrow ? run<2, 1>(args, stream, most) : run<2, 2>(args, stream, most);
  return narrow ? run<1, 1>(args, stream, most) : run<1, 2>(args, stream, most);
}

}  // namespace fp8ref::cuda
