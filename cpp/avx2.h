// SPDX-License-Identifier: Apache-2.0
// What the AVX2 kernels share. Functions carry the target attribute one by one: no inline function of a shared header
// is compiled for AVX2, so none can leak into code that runs elsewhere. Internal.
#pragma once

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#define FP8REF_HAS_AVX2 1
#include <immintrin.h>

#define FP8REF_AVX2 __attribute__((target("avx2,fma,f16c")))

namespace fp8ref::cpu {

FP8REF_AVX2 inline __m128i load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

/// 16 codes of E4M3 as fp16: bits s0eeeemmm0000000, the value times 2^-8.
FP8REF_AVX2 inline __m256i halves_of(__m128i codes) {
  const __m256i shifted = _mm256_slli_epi16(_mm256_cvtepi8_epi16(codes), 7);
  return _mm256_and_si256(shifted, _mm256_set1_epi16(static_cast<short>(0xBFFF)));  // one copy of the sign is enough
}

}  // namespace fp8ref::cpu

#endif
