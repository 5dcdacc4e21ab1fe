// SPDX-License-Identifier: Apache-2.0
// The kernels for AVX2 with FMA and F16C.
#include "avx2.h"
#include "kernels.h"

#ifdef FP8REF_HAS_AVX2
#include <cstring>

#include "chain_kernels.h"

namespace fp8ref::cpu {
namespace {

FP8REF_AVX2 inline __m256d low_doubles(__m256 x) { return _mm256_cvtps_pd(_mm256_castps256_ps128(x)); }
FP8REF_AVX2 inline __m256d high_doubles(__m256 x) { return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)); }

FP8REF_AVX2 inline void widen16(const e4m3* codes, __m256* low, __m256* high) {
  const __m256i halves = halves_of(load16(codes));
  *low = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
  *high = _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1));
}

FP8REF_AVX2 inline void widen16(const bf16* values, __m256* low, __m256* high) {
  *low = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(values)), 16));
  *high = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(values + 8)), 16));
}

template <class T>
FP8REF_AVX2 void decode(const T* codes, std::int64_t n, double* x) {
  T last[16] = {};
  for (std::int64_t i = 0; i < n; i += 16) {
    __m256 low, high;
    if (n - i < 16) {
      std::memcpy(last, codes + i, static_cast<std::size_t>(n - i) * sizeof(T));
      double values[16];
      decode(last, 16, values);
      std::memcpy(x + i, values, static_cast<std::size_t>(n - i) * sizeof(double));
      return;
    }
    widen16(codes + i, &low, &high);
    _mm256_storeu_pd(x + i, low_doubles(low));
    _mm256_storeu_pd(x + i + 4, high_doubles(low));
    _mm256_storeu_pd(x + i + 8, low_doubles(high));
    _mm256_storeu_pd(x + i + 12, high_doubles(high));
  }
}

FP8REF_AVX2 bool has_nan(const e4m3* codes, std::int64_t n) {
  const __m256i nan = _mm256_set1_epi8(0x7F);
  __m256i found = _mm256_setzero_si256();
  std::int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m256i c = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + i));
    found = _mm256_or_si256(found, _mm256_cmpeq_epi8(_mm256_and_si256(c, nan), nan));
  }
  int any = _mm256_movemask_epi8(found);
  for (; i < n; ++i) any |= (codes[i].bits & 0x7F) == 0x7F;
  return any != 0;
}

FP8REF_AVX2 inline double sum_of(__m256d v) {
  const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
}

template <class T>
FP8REF_AVX2 double dot(const double* x, const T* w, std::int64_t n) {
  __m256d s0 = _mm256_setzero_pd(), s1 = s0, s2 = s0, s3 = s0;
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    __m256 low, high;
    widen16(w + i, &low, &high);
    s0 = _mm256_fmadd_pd(_mm256_loadu_pd(x + i), low_doubles(low), s0);
    s1 = _mm256_fmadd_pd(_mm256_loadu_pd(x + i + 4), high_doubles(low), s1);
    s2 = _mm256_fmadd_pd(_mm256_loadu_pd(x + i + 8), low_doubles(high), s2);
    s3 = _mm256_fmadd_pd(_mm256_loadu_pd(x + i + 12), high_doubles(high), s3);
  }
  double sum = sum_of(_mm256_add_pd(_mm256_add_pd(s0, s1), _mm256_add_pd(s2, s3)));
  if (i < n) {
    double tail[16];
    decode(w + i, n - i, tail);
    for (std::int64_t j = 0; i + j < n; ++j) sum += x[i + j] * tail[j];
  }
  return sum;
}

FP8REF_AVX2 inline __m256d sums_of(__m256d r0, __m256d r1, __m256d r2, __m256d r3) {
  const __m256d r01 = _mm256_hadd_pd(r0, r1), r23 = _mm256_hadd_pd(r2, r3);
  return _mm256_add_pd(_mm256_permute2f128_pd(r01, r23, 0x21), _mm256_blend_pd(r01, r23, 0xC));
}

FP8REF_AVX2 inline void add_column(double* c, std::int64_t ldc, __m256d sums) {
  alignas(32) double values[4];
  _mm256_store_pd(values, sums);
  for (int i = 0; i < 4; ++i) c[i * ldc] += values[i];
}

/// 12 accumulators, 3 vectors of b and 1 of a fill the 16 registers: 7 loads for 12 multiply-adds.
FP8REF_AVX2 void tile(const double* a, std::int64_t lda, const double* b, std::int64_t ldb, std::int64_t k, double* c,
                      std::int64_t ldc) {
  static_assert(kTileRows == 4 && kTileColumns == 3 && kPadding == 4);
  const double *a1 = a + lda, *a2 = a1 + lda, *a3 = a2 + lda, *b1 = b + ldb, *b2 = b1 + ldb;
  __m256d s00 = _mm256_setzero_pd(), s01 = s00, s02 = s00, s10 = s00, s11 = s00, s12 = s00;
  __m256d s20 = s00, s21 = s00, s22 = s00, s30 = s00, s31 = s00, s32 = s00;
  for (std::int64_t p = 0; p < k; p += 4) {
    const __m256d y0 = _mm256_load_pd(b + p), y1 = _mm256_load_pd(b1 + p), y2 = _mm256_load_pd(b2 + p);
    __m256d x = _mm256_load_pd(a + p);
    s00 = _mm256_fmadd_pd(x, y0, s00);
    s01 = _mm256_fmadd_pd(x, y1, s01);
    s02 = _mm256_fmadd_pd(x, y2, s02);
    x = _mm256_load_pd(a1 + p);
    s10 = _mm256_fmadd_pd(x, y0, s10);
    s11 = _mm256_fmadd_pd(x, y1, s11);
    s12 = _mm256_fmadd_pd(x, y2, s12);
    x = _mm256_load_pd(a2 + p);
    s20 = _mm256_fmadd_pd(x, y0, s20);
    s21 = _mm256_fmadd_pd(x, y1, s21);
    s22 = _mm256_fmadd_pd(x, y2, s22);
    x = _mm256_load_pd(a3 + p);
    s30 = _mm256_fmadd_pd(x, y0, s30);
    s31 = _mm256_fmadd_pd(x, y1, s31);
    s32 = _mm256_fmadd_pd(x, y2, s32);
  }
  add_column(c, ldc, sums_of(s00, s10, s20, s30));
  add_column(c + 1, ldc, sums_of(s01, s11, s21, s31));
  add_column(c + 2, ldc, sums_of(s02, s12, s22, s32));
}

}  // namespace

const Kernels* avx2_kernels() {
  const bool usable = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  static const Kernels table{"avx2", decode<e4m3>,   decode<bf16>,           has_nan,   dot<e4m3>, dot<bf16>,
                             tile,   &avx2_chains(), avx2_attention_weights, avx2_outer};
  return usable ? &table : nullptr;
}

}  // namespace fp8ref::cpu

#else

namespace fp8ref::cpu {

const Kernels* avx2_kernels() { return nullptr; }

}  // namespace fp8ref::cpu

#endif
