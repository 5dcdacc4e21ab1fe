// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/quantize.md: the scale of each rule from the largest magnitude, the code of one element, and
// dequantize. T is the type of the tensor (float, bf16, fp16); rules that work in T round every step to it.
#pragma once

#include <cstdint>

#include "fp8ref/e4m3.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref {

/// A step of fp32 rounded to T. For a quotient of two values of T this is one rounding in effect: fp32 has more than
/// twice the significant bits of bf16 and fp16, subnormals included, so it never lands on a midpoint that the quotient
/// missed. Products of two values of T are exact in fp32, but for bf16 ones so small that their code is 0 anyway.
template <class T>
FP8REF_HD float rounded_in(float x);
template <>
FP8REF_HD float rounded_in<float>(float x) {
  return x;
}
template <>
FP8REF_HD float rounded_in<bf16>(float x) {
  return widen(rnbf(x));
}
template <>
FP8REF_HD float rounded_in<fp16>(float x) {
  return widen(rn16(x));
}

/// finfo(T).eps, the scale of an all-zero row under compressed-tensors [QUANT-ZERO-AMAX].
template <class T>
inline constexpr float kEpsilon = 0;
template <>
inline constexpr float kEpsilon<float> = 0x1p-23f;
template <>
inline constexpr float kEpsilon<bf16> = 0x1p-7f;
template <>
inline constexpr float kEpsilon<fp16> = 0x1p-10f;

/// fmaxf(-448, fminf(y, 448)): NaN becomes 448.
FP8REF_HD float clamp_dropping_nan(float y) { return y < kE4m3Max ? (y > -kE4m3Max ? y : -kE4m3Max) : kE4m3Max; }

// ---- vllm.per_token, vllm.per_tensor_static -------------------------------------------------------------------------
/// amax: the largest magnitude of the row, NaNs ignored, from 0.
FP8REF_HD float vllm_token_scale(float amax) {
  constexpr float kSmallest = 1.0f / (448.0f * 512.0f);  // MINS
  const float scale = div32(amax, kE4m3Max);
  return scale > kSmallest ? scale : kSmallest;
}
FP8REF_HD e4m3 vllm_token_code(float x, float scale) {
  return encode(clamp_dropping_nan(div32(x, scale)), Overflow::saturate);
}
FP8REF_HD float vllm_static_inverse(float scale) { return div32(1.0f, scale); }
FP8REF_HD e4m3 vllm_static_code(float x, float inverse) {
  return encode(clamp_dropping_nan(mul32(x, inverse)), Overflow::saturate);
}

// ---- compressed_tensors.channel, compressed_tensors.tensor
// ------------------------------------------------------------
/// amax: the largest magnitude, NaN if any element is.
template <class T>
FP8REF_HD float compressed_tensors_scale(float amax) {
  const float scale = rounded_in<T>(div32(amax, kE4m3Max));
  return canonical(scale == 0 ? kEpsilon<T> : scale);
}
/// The zero point is added as llm-compressor does: it turns a quotient of -0 into +0. [QUANT-MINUS-ZERO]
template <class T>
FP8REF_HD e4m3 compressed_tensors_code(float x, float scale) {
  return encode(add32(rounded_in<T>(div32(x, scale)), 0.0f), Overflow::saturate);
}

// ---- autofp8.per_tensor
// -----------------------------------------------------------------------------------------------
inline constexpr float kAutofp8EmptyAmax = 16.0f;  // for a tensor of no elements

/// The multiplier, in T throughout: T(T(1 / max(amax, T(1e-12))) * 448). amax: NaN if any element is.
template <class T>
FP8REF_HD float autofp8_multiplier(float amax) {
  const float least = rounded_in<T>(1e-12f);
  const float floored = amax < least ? least : amax;  // keeps NaN
  return rounded_in<T>(mul32(rounded_in<T>(div32(1.0f, floored)), kE4m3Max));
}
/// The stored scale, fp32.
FP8REF_HD float autofp8_scale(float multiplier) { return canonical(div32(1.0f, multiplier)); }
template <class T>
FP8REF_HD e4m3 autofp8_code(float x, float multiplier) {
  return encode(rounded_in<T>(mul32(x, multiplier)), Overflow::saturate);
}

/// RN32(code * scale), before the rounding to the output type.
FP8REF_HD float dequantize(e4m3 code, float scale) { return canonical(mul32(decode(code), scale)); }

}  // namespace fp8ref
