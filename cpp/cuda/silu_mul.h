// SPDX-License-Identifier: Apache-2.0
// silu_mul of vectors (spec/silu_mul.md). Internal.
#pragma once

#include "cuda/packed.h"
#include "fp8ref/silu_mul.h"

namespace fp8ref::cuda {

/// Out of line, for it needs many registers.
__device__ __noinline__ inline bf16 silu_settled(bf16 g) { return silu_bf16(g); }

/// silu(x) in fp32, and whether that settles RNbf(RN32(silu(x))). exp_near and quotient_near are off by 4 * 2^-24 each,
/// the sum 1 + e by half of that of e and by 2^-24, the product x e by 2^-24: 12 * 2^-24 together, which is at most 12
/// neighbours, and RN32 moves silu by less than one. So the rounding to bf16 is settled where no midpoint lies within
/// 16 neighbours. [ROUND-CERTIFY]
struct SiluNear {
  float value;
  bool settled;
};
__device__ __forceinline__ SiluNear silu_near(float x) {
  constexpr std::uint32_t kNeighbours = 16, kLow = 0x20000000, kHigh = 0x42800000;  // 2^-63 and 64
  const float magnitude = bit_cast<float>(bit_cast<std::uint32_t>(x) & 0x7FFFFFFF);
  const float e = exp_near(-magnitude);
  const float y = quotient_near(x > 0 ? x : mul32(x, e), add32(1.0f, e));
  const std::uint32_t from_midpoint = (bit_cast<std::uint32_t>(y) + 0x8000 + kNeighbours) & 0xFFFF;
  const bool inside = bit_cast<std::uint32_t>(magnitude) - kLow < kHigh - kLow || magnitude == 0;  // a zero stays
  return {y, inside && from_midpoint > 2 * kNeighbours};
}

/// silu_mul of 8 elements; NaNs are canonical.
__device__ __forceinline__ Bf16x8 silu_mul8(const Bf16x8& gate, const Bf16x8& up) {
  Bf16x8 y;
  std::uint32_t open = 0;  // a bit for each element
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const SiluNear low = silu_near(low_value(gate.pair[i])), high = silu_near(high_value(gate.pair[i]));
    y.pair[i] = round2<bf16>(low.value, high.value);
    open |= (low.settled ? 0u : 1u << (2 * i)) | (high.settled ? 0u : 2u << (2 * i));
  }
  if (open != 0) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      bf16 low = low_half<bf16>(y.pair[i]), high = high_half<bf16>(y.pair[i]);
      if ((open >> (2 * i) & 1) != 0) low = silu_settled(low_half<bf16>(gate.pair[i]));
      if ((open >> (2 * i) & 2) != 0) high = silu_settled(high_half<bf16>(gate.pair[i]));
      y.pair[i] = pair_of(low, high);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) y.pair[i] = multiply2(y.pair[i], up.pair[i]);
  return canonical8(y);
}

}  // namespace fp8ref::cuda
