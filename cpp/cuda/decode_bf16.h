// SPDX-License-Identifier: Apache-2.0
// bf16 to float64 where a decoding per multiplication counts: 2^-896 of the one factor by a shift and a mask, 2^896 of
// the other ahead of time. Internal.
#pragma once

#include "cuda/device.h"
#include "fp8ref/round.h"

namespace fp8ref::cuda {

/// 2^-896 y for the bf16 y in the upper half of a word: its fields fit into those of float64 where they are, subnormals
/// included. Exact for all finite y; an Inf or NaN becomes a finite number.
__device__ __forceinline__ double shifted_down(std::uint32_t word) {
  const std::uint32_t high = static_cast<std::uint32_t>(static_cast<std::int32_t>(word) >> 3) & 0x8FFFE000u;
  return bit_cast<double>(static_cast<std::uint64_t>(high) << 32);
}

/// 2^896 x: finite and exact for every finite bf16 x, as these are below 2^128. Its products with 2^-896 y are x y.
__device__ __forceinline__ double shifted_up(double x) { return x * 0x1p896; }

}  // namespace fp8ref::cuda
