// SPDX-License-Identifier: Apache-2.0
// What the scalar headers need from the compiler: host and device inlining, and bit casts that work in both.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define FP8REF_HD __host__ __device__ inline
/// Before a template whose argument may have functions of the device only.
#define FP8REF_TEAM _Pragma("nv_exec_check_disable")
#else
#define FP8REF_HD inline
#define FP8REF_TEAM
#endif

namespace fp8ref {

/// Bit patterns with a type of their own, so that a code is never taken for a number.
struct e4m3 {
  std::uint8_t bits;
};
struct e5m2 {
  std::uint8_t bits;
};
struct bf16 {
  std::uint16_t bits;
};
struct fp16 {
  std::uint16_t bits;
};

/// std::bit_cast for host and device (C++20's is host only under nvcc).
template <class To, class From>
FP8REF_HD To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

// Policies. The names are the enum strings of spec/ops.toml's pages, of Python and of JSON.
enum class Overflow { saturate, nan };
enum class Accumulate {
  exact,
  sm80_mma,
  sm89_mma,
  sm90_mma_sync,
  sm90_wgmma,
  sm90_wgmma_promoted,
  sm100_tcgen05,
  sm120_mma,
  sm80,  // modes: a unit for FP8 and one for all others (modes.h)
  sm89,
  sm90,
};
enum class Operand { e4m3, e5m2, bf16, fp16 };
enum class Epilogue { a_b, b_a, ab, deepgemm, triton, triton_ba };
enum class OutDtype { float32, bfloat16, float16, float8_e4m3fn };
enum class Mask { causal, chunked, full };
enum class RopeLayout { rotate_half, interleaved };

}  // namespace fp8ref
