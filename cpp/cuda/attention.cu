// SPDX-License-Identifier: Apache-2.0
// attention on a CUDA device (spec/attention.md): float64 sums, in parts where that fills the device, merged with a
// certificate per output; then the outputs that stay open, exactly (attention_rows.cu). Every path gives the same bits,
// so which one runs is a matter of speed.
#include <algorithm>

#include "cuda/attention.h"
#include "cuda/attention_unit.h"
#include "fp8ref/cuda.h"
#include "fp8ref/errors.h"
#include "fp8ref/modes.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 128;
constexpr std::int64_t kSplitKeys = 128;  // a split has a multiple of these
constexpr std::int64_t kMostSplits = 128;
constexpr std::int64_t kNumerators = std::int64_t{256} << 20;  // bytes, unless one query needs more

/// The parts of each row, merged relative to the largest exponent of all. [ATTN-CERTIFY]
__global__ void __launch_bounds__(kThreads)
    attention_merge_kernel(AttentionRows a, AttentionParts p, OpenOutputs open) {
  const std::int64_t d = a.args.head_dim;
  for (std::int64_t row = blockIdx.x; row < a.count(); row += gridDim.x) {
    const std::int64_t kv_head = row / a.per_kv_head(), r = row % a.per_kv_head();
    const AttentionPart* const parts = p.parts + row * p.splits;
    const double* const numerators = p.numerators + row * p.splits * d;
    const int* const magnitudes = p.magnitudes + (kv_head * p.tiles + r / p.tile_rows) * p.splits * d;
    AttentionPart all{-INFINITY, 0};
    for (std::int64_t s = 0; s < p.splits; ++s)
      all.largest = all.largest > parts[s].largest ? all.largest : parts[s].largest;
    for (std::int64_t s = 0; s < p.splits; ++s) {
      all.denominator += parts[s].denominator * attention_rescale(parts[s].largest, all.largest);
    }
    for (std::int64_t i = threadIdx.x; i < d; i += blockDim.x) {
      double numerator = 0;
      int magnitude = 0;
      for (std::int64_t s = 0; s < p.splits; ++s) {
        numerator += numerators[s * d + i] * attention_rescale(parts[s].largest, all.largest);
        magnitude = magnitude > magnitudes[s * d + i] ? magnitude : magnitudes[s * d + i];
      }
      attention_finish(all, numerator, magnitude, a.visible(r) - a.first_visible(r), open, a.args.out,
                       a.offset(kv_head, r) + i);
    }
  }
}

bool aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

/// Whether there is a kernel for this head_dim; k and v are read 16 bytes at a time.
bool has_parts(const AttentionArgs& args) {
  const bool known = args.head_dim == 64 || args.head_dim == 80 || args.head_dim == 96 || args.head_dim == 128;
  return known && args.kv_len > 0 && aligned(args.q) && aligned(args.k) && aligned(args.v);
}

/// The keys in so many parts that the blocks fill the device a few times. The number depends on the rows alone, so that
/// a graph of decode steps keeps its memory.
void attention_in_parts(const AttentionRows& rows, const OpenOutputs& open, cudaStream_t stream) {
  const bool few = rows.per_kv_head() <= kAttentionFewRows;
  AttentionParts parts = {};
  parts.tile_rows = few ? 1 : kAttentionTileRows;
  while (few && parts.tile_rows < rows.per_kv_head()) parts.tile_rows *= 2;
  parts.tiles = (rows.per_kv_head() + parts.tile_rows - 1) / parts.tile_rows;
  const std::int64_t blocks = parts.tiles * rows.args.kv_heads, wanted = (few ? 4 : 1) * device_facts().multiprocessors;
  parts.splits = std::clamp<std::int64_t>(wanted / blocks, 1, kMostSplits);
  const std::int64_t tiles = (attention_most_keys(rows.args, parts.tile_rows) + kSplitKeys - 1) / kSplitKeys;
  parts.split_keys = (tiles + parts.splits - 1) / parts.splits * kSplitKeys;
  const std::int64_t count = rows.count() * parts.splits, d = rows.args.head_dim;
  const Workspace<AttentionPart> kept("attention", count, stream);
  const Workspace<double> numerators("attention", count * d, stream);
  const Workspace<int> magnitudes("attention", blocks * parts.splits * d, stream);
  parts.parts = kept.get();
  parts.numerators = numerators.get();
  parts.magnitudes = magnitudes.get();
  if (few) {
    attention_few(rows, parts, stream);
  } else {
    attention_tile(rows, parts, stream);
  }
  launch("attention", attention_merge_kernel, blocks_for(rows.count(), 1), kThreads, 0, stream, rows, parts, open);
}

}  // namespace

void attention(const AttentionArgs& args, Stream stream) {
  if (args.q_len == 0 || args.q_heads == 0) return;
  if (find_mode(args.accumulate) == nullptr) throw OpError("attention: accumulate is no mode");
  if (args.accumulate != Accumulate::exact) return attention_unit(args, stream);
  const OpenList open("attention", stream);
  if (!has_parts(args)) {
    attention_rows({args, 0, args.q_len}, open.get(), stream);
  } else {
    const auto bytes = args.q_heads * args.head_dim * static_cast<std::int64_t>(sizeof(double));
    const std::int64_t most = std::max<std::int64_t>(1, kNumerators / bytes);
    for (std::int64_t first = 0; first < args.q_len; first += most) {
      attention_in_parts({args, first, std::min(most, args.q_len - first)}, open.get(), stream);
    }
  }
  attention_close(args, open.get(), stream);
}

}  // namespace fp8ref::cuda
