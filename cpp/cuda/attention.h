// SPDX-License-Identifier: Apache-2.0
// What the kernels of attention share. A row is one query of one head. Internal.
#pragma once

#include "cuda/open.h"
#include "fp8ref/args.h"
#include "fp8ref/attention.h"

namespace fp8ref::cuda {

/// Rows as [kv head][query][head of its group]: neighbours share their keys. `first` and `queries`: the part of the
/// queries in hand.
struct AttentionRows {
  AttentionArgs args;
  std::int64_t first, queries;

  __host__ __device__ std::int64_t per_kv_head() const { return queries * args.group(); }
  __host__ __device__ std::int64_t count() const { return queries * args.q_heads; }
  __device__ std::int64_t stride() const { return args.kv_heads * args.head_dim; }

  /// Row r of the part in hand among all of its kv head.
  __host__ __device__ std::int64_t of_head(std::int64_t r) const { return first * args.group() + r; }
  /// Where it is in q and out, and the keys that it sees.
  __device__ std::int64_t offset(std::int64_t kv_head, std::int64_t r) const {
    return args.row_element(kv_head, of_head(r));
  }
  __host__ __device__ std::int64_t first_visible(std::int64_t r) const { return args.first_visible(of_head(r)); }
  __host__ __device__ std::int64_t visible(std::int64_t r) const { return args.visible(of_head(r)); }
};

/// A bound of the keys that so many neighbouring rows see. [ATTN-VISIBLE]
inline std::int64_t attention_most_keys(const AttentionArgs& args, std::int64_t rows) {
  if (args.mask != Mask::chunked || args.chunk >= args.kv_len) return args.kv_len;
  return args.chunk + rows < args.kv_len ? args.chunk + rows : args.kv_len;
}

/// The weight of one key, exactly: what the certificate leaves open, out of line so that it costs nothing else.
__device__ __noinline__ inline Weight attention_open_weight(const bf16* q, const bf16* k, std::int64_t d, float c) {
  return attention_weight_exact(q, k, d, c);
}

/// The weight for a float64 dot and the bound of its error; exactly where that does not prove it.
__device__ __forceinline__ Weight attention_weigh(double dot, double error, const bf16* q, const bf16* k,
                                                  std::int64_t d, float c) {
  const CertifiedWeight weight = attention_weight_within(dot, error, c);
  return weight.proven ? weight.value : attention_open_weight(q, k, d, c);
}

/// What some of the keys of a row add up to. The weights are relative to 2^largest; numerators and denominator.
/// Parts of one row are merged by powers of two. [ATTN-CERTIFY]
struct AttentionPart {
  float largest;  // of the exponents; -Inf without terms, +Inf if the row is broken
  double denominator;
};

/// The factor for sums relative to 2^from when they become relative to 2^to: exact. [ATTN-CERTIFY]
__device__ __forceinline__ double attention_rescale(float from, float to) {
  return from == to ? 1.0 : attention_relative(from, 1, to);
}

/// Writes the output for float64 sums over `count` keys, or leaves it open. magnitude: the bits of the largest |v| of
/// the column, or of more of it.
__device__ __forceinline__ void attention_finish(const AttentionPart& part, double numerator, int magnitude,
                                                 std::int64_t count, const OpenOutputs& open, bf16* out,
                                                 std::int64_t index) {
  if (part.largest == INFINITY) {
    out[index] = bf16{kNanBf16};
  } else if (part.largest == -INFINITY) {
    out[index] = bf16{0};
  } else {
    const bf16 largest{static_cast<std::uint16_t>(magnitude)};
    const CertifiedOutput result = attention_within(numerator, part.denominator, widen(largest), count);
    if (is_finite(largest) && result.proven()) {
      out[index] = result.low;
    } else {
      leave_open(open, out, index);
    }
  }
}

/// What the blocks of a grid sum: rows in tiles of `tile_rows` of one kv head, which share the magnitudes of v, and the
/// keys from the first that a tile sees on in `splits` parts.
struct AttentionParts {
  std::int64_t splits, split_keys, tile_rows, tiles;  // tiles of one kv head
  AttentionPart* parts;                               // [kv head][row][split]
  double* numerators;                                 // [kv head][row][split][head_dim]
  int* magnitudes;                                    // [kv head][tile][split][head_dim]
};

/// A block's place in that grid.
struct AttentionPlace {
  std::int64_t split, tile, kv_head;

  /// Later tiles see more keys, so they begin first.
  __device__ AttentionPlace(const AttentionParts& parts, std::int64_t block)
      : split(block % parts.splits),
        tile(parts.tiles - 1 - block / parts.splits % parts.tiles),
        kv_head(block / parts.splits / parts.tiles) {}

  /// The keys of the part that one of `count` rows from `first` on sees; none where end <= begin.
  __device__ std::int64_t begin(const AttentionRows& rows, const AttentionParts& parts, std::int64_t first) const {
    return rows.first_visible(first) + split * parts.split_keys;
  }
  __device__ std::int64_t end(const AttentionRows& rows, const AttentionParts& parts, std::int64_t first,
                              std::int64_t count) const {
    const std::int64_t seen = rows.visible(first + count - 1), most = begin(rows, parts, first) + parts.split_keys;
    return most < seen ? most : seen;
  }

  __device__ std::int64_t part(const AttentionRows& rows, const AttentionParts& parts, std::int64_t r) const {
    return (kv_head * rows.per_kv_head() + r) * parts.splits + split;
  }
  __device__ int* magnitudes(const AttentionRows& rows, const AttentionParts& parts) const {
    return parts.magnitudes + ((kv_head * parts.tiles + tile) * parts.splits + split) * rows.args.head_dim;
  }
};

// ---- the kernels ----------------------------------------------------------------------------------------------------
/// Any problem: a block per row.
void attention_rows(const AttentionRows& rows, const OpenOutputs& open, cudaStream_t stream);
/// Up to kAttentionFewRows rows of a kv head per tile, bound by memory: every key is read once for all of them.
void attention_few(const AttentionRows& rows, const AttentionParts& parts, cudaStream_t stream);
/// kAttentionTileRows rows per tile, by tensor cores.
void attention_tile(const AttentionRows& rows, const AttentionParts& parts, cudaStream_t stream);
inline constexpr std::int64_t kAttentionFewRows = 8, kAttentionTileRows = 128;
/// What is open, exactly.
void attention_close(const AttentionArgs& args, const OpenOutputs& open, cudaStream_t stream);

}  // namespace fp8ref::cuda
