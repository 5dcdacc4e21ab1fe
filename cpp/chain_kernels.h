// SPDX-License-Identifier: Apache-2.0
// Packed operands of tensor-core chains, and the kernels that walk over them (fp8ref/mma.h has the semantics).
// Internal.
//
// A kernel aligns 8 outputs at a time: terms are floats, scaled by a power of two so that the cut of a term is its
// conversion to an integer. Two packings, one for a whole call:
//   narrow  values as they are. Operands are 0 or of exponent -34 .. 34, fp32 accumulators 0 or within 2^-93 .. 2^100.
//           A sum is a multiple of 2^(-68 - 25), so that chains stay in that range, and no float overflows on the way.
//   wide    significands and exponents apart, for any finite operands and accumulators.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "fp8ref/mma.h"

namespace fp8ref::cpu {

inline constexpr int kChainColumns = 8, kChainDepth = 32;  // rows of b, and elements of k, of one packed tile

/// The exponent of a narrow zero: with any other exponent it gives at most -94, below all that chains meet. Sums of
/// narrow exponents saturate.
inline constexpr int kNarrowZero = -128, kNarrowExponent = 34, kNarrowFloor = -94;
inline constexpr float kNarrowLeast = 0x1p-93f, kNarrowMost = 0x1p100f;  // magnitudes of accumulators
inline constexpr int kWideZero = -1000;  // two of them, or one and any exponent, are below every floor

struct alignas(32) NarrowRow {
  float value[kChainDepth];
  std::int8_t exponent[kChainDepth];
};
struct alignas(32) NarrowTile {
  float value[kChainDepth][kChainColumns];
  std::int8_t exponent[kChainDepth / 4][kChainColumns][4];  // [k / 4][column][k % 4]
};
struct alignas(32) WideRow {
  float value[kChainDepth];  // significands, below 2
  std::int32_t exponent[kChainDepth];
};
struct alignas(32) WideTile {
  float value[kChainDepth][kChainColumns];
  std::int32_t exponent[kChainDepth][kChainColumns];
};

/// The different cores of the table of units, each once.
inline constexpr std::size_t kCoreCount = 12;
constexpr std::array<TensorCore, kCoreCount> distinct_cores() {
  std::array<TensorCore, kCoreCount> cores{};
  std::size_t count = 0;
  for (const Unit& unit : unit_table().rows) {
    if (std::find(cores.begin(), cores.begin() + count, unit.core) == cores.begin() + count) {
      cores.at(count++) = unit.core;
    }
  }
  return count == kCoreCount ? cores : std::array<TensorCore, kCoreCount>{};
}
inline constexpr std::array<TensorCore, kCoreCount> kCores = distinct_cores();
static_assert(kCores.back().block != 0);

/// A chain over `steps` packed tiles for one row of a and 8 rows of b, from and to `accumulators`: 8 finite numbers of
/// the core's result type, fp16 as fp32 (an infinity or NaN may come out, and go in where the chain made it).
template <class Row, class Tile>
using Chain = void (*)(const Row* a, const Tile* b, std::int64_t steps, float* accumulators);
using NarrowChain = Chain<NarrowRow, NarrowTile>;
using WideChain = Chain<WideRow, WideTile>;

struct ChainKernels {
  std::array<NarrowChain, kCoreCount> narrow;  // by the place in kCores
  std::array<WideChain, kCoreCount> wide;      // nullptr where nothing can be wide
  /// 32 codes of each of 8 rows of b; NaN codes give some finite number.
  void (*pack_e4m3)(const e4m3* const* rows, NarrowTile* tile);
};

/// fp16 accumulators belong to operands that are always narrow, and a rewritten chain meets its accumulator last.
constexpr bool may_be_wide(const TensorCore& core) {
  return core.result != Conversion::fp16 && core.order == Order::chain;
}

const ChainKernels& portable_chains();
const ChainKernels& avx2_chains();  // defined where FP8REF_HAS_AVX2 is (avx2.h)

/// Finite numbers as packed; infinities and NaNs count as 0.
template <class T>
inline float narrow_value(T x) {
  constexpr int kShift = 23 - Encoding<T>::kFraction;
  const float bias = bit_cast<float>(std::uint32_t{2 * 127 - Encoding<T>::kBias} << 23);
  const float magnitude = bit_cast<float>(magnitude_pattern(x) << kShift) * bias;
  const float value = kind(x) < Kind::infinite ? magnitude : 0.0f;
  return sign_bit(x) ? -value : value;
}
template <class T>
inline std::int8_t narrow_exponent(T x) {
  const int field = static_cast<int>(magnitude_pattern(x) >> Encoding<T>::kFraction);
  const int exponent = std::max(field, 1) - Encoding<T>::kBias;
  return static_cast<std::int8_t>(kind(x) == Kind::finite ? exponent : kNarrowZero);
}

}  // namespace fp8ref::cpu
