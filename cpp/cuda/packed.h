// SPDX-License-Identifier: Apache-2.0
// Two bf16 numbers in a word (the first in the low half), vectors of 16 bytes, and what the hardware does to pairs.
// Each function is one rounding per element and equals the scalar function of fp8ref/bf16.h or e4m3.h named beside it,
// but that NaNs of bf16 have any payload until canonical2. Internal.
#pragma once

#include <cmath>
#include <cstdint>

#include "cuda/device.h"
#include "fp8ref/bf16.h"
#include "fp8ref/e4m3.h"
#include "fp8ref/rules.h"

#if defined(FP8REF_SIMT)
#include <stdexcept>
#endif

namespace fp8ref::cuda {

// ---- vectors --------------------------------------------------------------------------------------------------------
/// n elements that are loaded or stored at once: 1, 2, 4, 8 or 16 bytes, aligned as long as they are.
template <class T, int n>
struct Vector {
  T item[n];
};

template <int bytes>
struct Word;
template <>
struct Word<1> {
  using Type = std::uint8_t;
};
template <>
struct Word<2> {
  using Type = std::uint16_t;
};
template <>
struct Word<4> {
  using Type = std::uint32_t;
};
template <>
struct Word<8> {
  using Type = uint2;
};
template <>
struct Word<16> {
  using Type = uint4;
};

#if defined(FP8REF_SIMT)
inline void check_aligned(const void* pointer, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(pointer) % bytes != 0) throw std::logic_error("simt: a misaligned vector");
}
#endif

template <int n, class T>
__device__ __forceinline__ Vector<T, n> load(const T* from) {
  using W = typename Word<sizeof(T) * n>::Type;
#if defined(FP8REF_SIMT)
  check_aligned(from, sizeof(W));
  Vector<T, n> vector;
  memcpy(&vector, from, sizeof vector);
  return vector;
#else
  return bit_cast<Vector<T, n>>(*reinterpret_cast<const W*>(from));
#endif
}

template <class T, int n>
__device__ __forceinline__ void store(const Vector<T, n>& vector, T* to) {
  using W = typename Word<sizeof(T) * n>::Type;
#if defined(FP8REF_SIMT)
  check_aligned(to, sizeof(W));
  memcpy(to, &vector, sizeof vector);
#else
  *reinterpret_cast<W*>(to) = bit_cast<W>(vector);
#endif
}

/// Whether all pointers are multiples of `bytes`.
template <class... P>
bool aligned(int bytes, const P*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % static_cast<unsigned>(bytes) == 0) && ...);
}

// ---- pairs ----------------------------------------------------------------------------------------------------------
template <class T>
__device__ __forceinline__ T low_half(std::uint32_t pair) {
  return T{static_cast<std::uint16_t>(pair)};
}
template <class T>
__device__ __forceinline__ T high_half(std::uint32_t pair) {
  return T{static_cast<std::uint16_t>(pair >> 16)};
}
template <class T>
__device__ __forceinline__ std::uint32_t pair_of(T low, T high) {
  return low.bits | static_cast<std::uint32_t>(high.bits) << 16;
}

/// The numbers of a pair of bf16.
__device__ __forceinline__ float low_value(std::uint32_t pair) { return bit_cast<float>(pair << 16); }
__device__ __forceinline__ float high_value(std::uint32_t pair) { return bit_cast<float>(pair & 0xFFFF0000); }

#if defined(FP8REF_SIMT)

/// rnbf or rn16 of each.
template <class T>
std::uint32_t round2(float low, float high) {
  return pair_of(round_to<T>(low), round_to<T>(high));
}
inline float widened(fp16 x) { return widen(x); }
/// The larger of magnitudes. Where NaNs are ignored at most one of the two is a NaN.
template <class T, AmaxNan nan>
std::uint32_t max2(std::uint32_t x, std::uint32_t y) {
  const auto larger = [](std::uint32_t a, std::uint32_t b) {
    if (nan == AmaxNan::ignored) a = a > Format<T>::kOverflow ? 0 : a, b = b > Format<T>::kOverflow ? 0 : b;
    return a > b ? a : b;
  };
  return larger(x & 0xFFFF, y & 0xFFFF) | larger(x >> 16, y >> 16) << 16;
}
template <class Op>
std::uint32_t each_half(std::uint32_t x, std::uint32_t y, const Op& op) {
  return pair_of(op(low_half<bf16>(x), low_half<bf16>(y)), op(high_half<bf16>(x), high_half<bf16>(y)));
}
inline std::uint32_t multiply2(std::uint32_t x, std::uint32_t y) { return each_half(x, y, multiply); }
inline std::uint32_t add2(std::uint32_t x, std::uint32_t y) { return each_half(x, y, fp8ref::add); }
inline std::uint32_t subtract2(std::uint32_t x, std::uint32_t y) { return each_half(x, y, subtract); }
/// exp(x), for -64 <= x <= 0, and a / b, for 1 <= b <= 2 and a normal quotient: off by at most 2 units in the last
/// place. The emulator gives the worst of that, either way.
inline float two_units_off(float y) {
  const std::uint32_t bits = bit_cast<std::uint32_t>(y);
  return bit_cast<float>((bits * 0x9E3779B1u) >> 31 != 0 ? bits + 2 : bits - 2);
}
inline float exp_near(float x) { return x == 0 ? 1.0f : two_units_off(std::exp(x)); }
inline float quotient_near(float a, float b) { return a == 0 ? a : two_units_off(a / b); }
/// Two codes, the first in the low byte.
inline std::uint16_t encode2(float low, float high) {
  return static_cast<std::uint16_t>(encode(low, Overflow::saturate).bits | encode(high, Overflow::saturate).bits << 8);
}

#else

template <class T>
__device__ __forceinline__ std::uint32_t round2(float low, float high) {
  std::uint32_t pair;
  if constexpr (sizeof(T) == 2 && Format<T>::kPrecision == Format<bf16>::kPrecision) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  }
  return pair;
}
__device__ __forceinline__ float widened(fp16 x) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(x.bits));
  return value;
}
template <class T, AmaxNan nan>
__device__ __forceinline__ std::uint32_t max2(std::uint32_t x, std::uint32_t y) {
  std::uint32_t pair;
  if constexpr (Format<T>::kPrecision == Format<bf16>::kPrecision) {
    if constexpr (nan == AmaxNan::ignored) {
      asm("max.bf16x2 %0, %1, %2;" : "=r"(pair) : "r"(x), "r"(y));
    } else {
      asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(pair) : "r"(x), "r"(y));
    }
  } else {
    if constexpr (nan == AmaxNan::ignored) {
      asm("max.f16x2 %0, %1, %2;" : "=r"(pair) : "r"(x), "r"(y));
    } else {
      asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(pair) : "r"(x), "r"(y));
    }
  }
  return pair;
}
/// x * y + z of each half, rounded once, subnormals kept.
__device__ __forceinline__ std::uint32_t fma2(std::uint32_t x, std::uint32_t y, std::uint32_t z) {
  std::uint32_t pair;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(x), "r"(y), "r"(z));
  return pair;
}
// sm_80 has only the fused form. Adding -0 to a product and multiplying by 1 or -1 change nothing, zeros' signs
// included.
__device__ __forceinline__ std::uint32_t multiply2(std::uint32_t x, std::uint32_t y) { return fma2(x, y, 0x80008000); }
__device__ __forceinline__ std::uint32_t add2(std::uint32_t x, std::uint32_t y) { return fma2(x, 0x3F803F80, y); }
__device__ __forceinline__ std::uint32_t subtract2(std::uint32_t x, std::uint32_t y) { return fma2(y, 0xBF80BF80, x); }
__device__ __forceinline__ float exp_near(float x) { return expf(x); }  // 1 unit by CUDA's documentation
__device__ __forceinline__ float quotient_near(float a, float b) {
  float quotient;  // 2 units by that of PTX
  asm("div.approx.ftz.f32 %0, %1, %2;" : "=f"(quotient) : "f"(a), "f"(b));
  return quotient;
}
__device__ __forceinline__ std::uint16_t encode2(float low, float high) {
#if __CUDA_ARCH__ >= 890
  std::uint16_t codes;  // a NaN is 0x7F
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
  return codes;
#else
  return static_cast<std::uint16_t>(encode(low, Overflow::saturate).bits | encode(high, Overflow::saturate).bits << 8);
#endif
}

#endif

/// Bits 15 and 31: whether the halves are NaN.
__device__ __forceinline__ std::uint32_t nan2(std::uint32_t pair) {
  return ((pair & 0x7FFF7FFF) + 0x007F007F) & 0x80008000;  // 0x7F81 + 0x7F = 0x8000
}
__device__ __forceinline__ std::uint32_t canonical2(std::uint32_t pair) {
  const std::uint32_t nan = nan2(pair), mask = (nan >> 15) * 0xFFFF;
  return (pair & ~mask) | (mask & (kNanBf16 * 0x10001u));
}

/// 8 numbers; the tests for NaN share a branch.
struct Bf16x8 {
  std::uint32_t pair[4];
};
__device__ __forceinline__ Bf16x8 canonical8(Bf16x8 x) {
  if ((nan2(x.pair[0]) | nan2(x.pair[1]) | nan2(x.pair[2]) | nan2(x.pair[3])) != 0) {
    for (std::uint32_t& pair : x.pair) pair = canonical2(pair);
  }
  return x;
}
/// residual of 8 elements.
__device__ __forceinline__ Bf16x8 residual8(const Bf16x8& x, const Bf16x8& y) {
  Bf16x8 sum;
#pragma unroll
  for (int i = 0; i < 4; ++i) sum.pair[i] = add2(x.pair[i], y.pair[i]);
  return canonical8(sum);
}
__device__ __forceinline__ Bf16x8 load8(const bf16* from) { return bit_cast<Bf16x8>(load<8>(from)); }
__device__ __forceinline__ void store8(const Bf16x8& x, bf16* to) { store(bit_cast<Vector<bf16, 8>>(x), to); }

}  // namespace fp8ref::cuda
