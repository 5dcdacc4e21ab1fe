// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of attention by a tensor core (spec/attention.md, [ATTN-UNIT]): weights relative to a block's M,
// sums of a block as chains, and how blocks merge.
#pragma once

#include <cmath>
#include <cstdint>

#include "fp8ref/attention.h"
#include "fp8ref/mma.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref {

inline constexpr int kAttentionBlock = 128;        // keys
inline constexpr int kAttentionSuperblock = 2048;  // keys [ATTN-UNIT-BLOCKS]

/// t = RN32(c * s) of one chain over the head. [ATTN-UNIT-SCORE]
FP8REF_HD float attention_unit_exponent(const TensorCore& core, const bf16* q, const bf16* k, std::int64_t d, float c) {
  return mul32(c, tensor_core_chain(core, q, k, d, 0.0f));
}

/// M of a block, from the largest t of its terms; -Inf without any. [ATTN-UNIT-WEIGHT]
FP8REF_HD float attention_top(float largest) { return std::ceil(largest); }

/// A weight times 2^-top in bfloat16; +0 for what is no term. The difference of the exponents is right wherever it is
/// above -135, and below that any weight is zero.
FP8REF_HD bf16 attention_unit_weight(const Weight& weight, float top) {
  const float relative = sub32(weight.exponent, top);
  if (!(relative > -135.0f)) return bf16{0};
  const int exponent = static_cast<int>(relative), significand = weight.significand;
  if (exponent >= -126) return bf16{static_cast<std::uint16_t>(((exponent + 127) << 7) + significand - 128)};
  const int drop = -126 - exponent;  // 1 .. 8 bits below the last one of subnormals: to nearest, ties to even
  const int odd = (significand >> drop) & 1;
  return bf16{static_cast<std::uint16_t>((significand + (1 << (drop - 1)) - 1 + odd) >> drop)};
}

/// One sum of a block: the chain over w_j * v_j, where keys that are no terms have w = v = +0. [ATTN-UNIT-SUMS]
FP8REF_HD float attention_unit_sum(const TensorCore& core, const bf16* weights, const float* exponents, const bf16* v,
                                   std::int64_t stride, int keys) {
  bf16 seen[kAttentionBlock];
  for (int j = 0; j < keys; ++j) seen[j] = exponents[j] > -INFINITY ? v[j * stride] : bf16{0};
  return tensor_core_chain(core, weights, seen, keys, 0.0f);
}

/// 2^(own - top), or +0 where that is small. A state without terms has own = -Inf and sums of +0: its factor is +0, and
/// whatever it merges with stays as it is. [ATTN-UNIT-MERGE]
FP8REF_HD float attention_merge_factor(float own, float top) {
  const float gap = sub32(top, own);
  return gap <= 126.0f ? bit_cast<float>((127 - static_cast<std::uint32_t>(gap)) << 23) : 0.0f;
}

/// One sum of two states.
FP8REF_HD float attention_merge(float x, float x_factor, float y, float y_factor) {
  return add32(mul32(x, x_factor), mul32(y, y_factor));
}

/// RNbf(RN32(n / l)); +0 without terms, where l is 0. [ATTN-UNIT-OUTPUT]
FP8REF_HD bf16 attention_unit_output(float numerator, float denominator) {
  return denominator == 0 ? bf16{0} : rnbf(div32(numerator, denominator));
}

}  // namespace fp8ref
