// SPDX-License-Identifier: Apache-2.0
// The kernels of attention for AVX2 with FMA; see kernels_avx2.cpp for the target attribute.
#include "kernels.h"

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#include <immintrin.h>

#include <array>
#include <cstring>

#include "fp8ref/attention.h"

#define FP8REF_AVX2 __attribute__((target("avx2,fma")))

namespace fp8ref::cpu {
namespace {

/// The thresholds of fp8ref/attention.h as fractions, and one that no fraction reaches.
const double* thresholds() {
  static const std::array<double, 129> table = [] {
    std::array<double, 129> values;
    for (int i = 0; i < 128; ++i) values[static_cast<std::size_t>(i)] = weight_threshold(i) * 0x1p-32;
    values[128] = 2;
    return values;
  }();
  return table.data();
}

struct Weights4 {
  __m128 exponent;
  __m128i significand;
  __m128 usable;  // |t| < 2^22; the rest is left to the scalar function
};

/// attention_weight of 4 products t.
FP8REF_AVX2 inline Weights4 weights4(__m128 t, const double* table) {
  const __m128 magnitude = _mm_andnot_ps(_mm_set1_ps(-0.0f), t);
  const __m128 usable = _mm_cmplt_ps(magnitude, _mm_set1_ps(0x1p22f)), whole = _mm_floor_ps(t);
  const __m256d f = _mm256_sub_pd(_mm256_cvtps_pd(t), _mm256_cvtps_pd(whole));
  __m256d estimate = _mm256_fmadd_pd(f, _mm256_set1_pd(128 * 0.0773), _mm256_set1_pd(128 * 0.2276));
  estimate = _mm256_fmadd_pd(f, estimate, _mm256_set1_pd(128 * 0.6951));
  estimate = _mm256_fmadd_pd(f, estimate, _mm256_set1_pd(0.4));
  const __m128i passed = _mm_and_si128(_mm256_cvttpd_epi32(estimate), _mm_castps_si128(usable));  // 0 to 128
  const __m256d all = _mm256_castsi256_pd(_mm256_set1_epi64x(-1));
  const __m256d next = _mm256_mask_i32gather_pd(_mm256_setzero_pd(), table, passed, all, 8);
  const __m256d reached = _mm256_cmp_pd(f, next, _CMP_GE_OQ);
  const __m128 narrow = _mm_shuffle_ps(_mm_castpd_ps(_mm256_castpd256_pd128(reached)),
                                       _mm_castpd_ps(_mm256_extractf128_pd(reached, 1)), _MM_SHUFFLE(2, 0, 2, 0));
  const __m128i count = _mm_sub_epi32(passed, _mm_castps_si128(narrow));
  const __m128i carry = _mm_cmpeq_epi32(count, _mm_set1_epi32(128));
  const __m128 exponent = _mm_add_ps(whole, _mm_and_ps(_mm_castsi128_ps(carry), _mm_set1_ps(1.0f)));
  return {exponent, _mm_add_epi32(_mm_andnot_si128(carry, count), _mm_set1_epi32(128)), usable};
}

/// attention_weight_within for 4 keys: the exponents, NaN where not proven.
FP8REF_AVX2 inline __m128 proven_weights4(__m256d dots, __m256d error, __m128 c, const double* table,
                                          __m128i* significand) {
  const __m128 low = _mm256_cvtpd_ps(_mm256_sub_pd(dots, error)), high = _mm256_cvtpd_ps(_mm256_add_pd(dots, error));
  const Weights4 w = weights4(_mm_mul_ps(c, low), table);
  __m128 proven = w.usable;
  // Sums of few bits are often midpoints of fp32 themselves.
  if (_mm_movemask_ps(_mm_cmpneq_ps(low, high)) != 0) {
    const Weights4 other = weights4(_mm_mul_ps(c, high), table);
    const __m128 same = _mm_castsi128_ps(_mm_cmpeq_epi32(w.significand, other.significand));
    proven = _mm_and_ps(_mm_and_ps(proven, other.usable), _mm_and_ps(same, _mm_cmpeq_ps(w.exponent, other.exponent)));
  }
  *significand = w.significand;
  return _mm_blendv_ps(_mm_castsi128_ps(_mm_set1_epi32(-1)), w.exponent, proven);
}

}  // namespace

FP8REF_AVX2 bool avx2_attention_weights(const double* dots, double error, const double* bounds, float c, std::int64_t n,
                                        float* exponent, std::uint8_t* significand) {
  const double* table = thresholds();
  const __m128i first_bytes = _mm_set1_epi32(0x0C080400);
  __m128 open = _mm_setzero_ps();
  std::int64_t j = 0;
  for (; j + 4 <= n; j += 4) {
    const __m256d width = _mm256_mul_pd(_mm256_set1_pd(error), _mm256_loadu_pd(bounds + j));
    __m128i values;
    const __m128 weights = proven_weights4(_mm256_loadu_pd(dots + j), width, _mm_set1_ps(c), table, &values);
    open = _mm_or_ps(open, _mm_cmpunord_ps(weights, weights));
    _mm_storeu_ps(exponent + j, weights);
    const std::int32_t packed = _mm_cvtsi128_si32(_mm_shuffle_epi8(values, first_bytes));
    std::memcpy(significand + j, &packed, sizeof(packed));
  }
  const bool rest = portable_attention_weights(dots + j, error, bounds + j, c, n - j, exponent + j, significand + j);
  return rest && _mm_movemask_ps(open) == 0;
}

/// 12 accumulators, 3 vectors of b and one element of a fill the 16 registers.
FP8REF_AVX2 void avx2_outer(const double* a, std::int64_t lda, const double* b, std::int64_t ldb, std::int64_t k,
                            double* c, std::int64_t ldc) {
  static_assert(kOuterRows == 4 && kOuterColumns == 12);
  const double *a1 = a + lda, *a2 = a1 + lda, *a3 = a2 + lda;
  __m256d sums[kOuterRows][3];
  for (auto& row : sums) row[0] = row[1] = row[2] = _mm256_setzero_pd();
  for (std::int64_t p = 0; p < k; ++p) {
    const double* y = b + p * ldb;
    const __m256d y0 = _mm256_loadu_pd(y), y1 = _mm256_loadu_pd(y + 4), y2 = _mm256_loadu_pd(y + 8);
    const double x[kOuterRows] = {a[p], a1[p], a2[p], a3[p]};
    for (int i = 0; i < kOuterRows; ++i) {
      const __m256d factor = _mm256_set1_pd(x[i]);
      sums[i][0] = _mm256_fmadd_pd(factor, y0, sums[i][0]);
      sums[i][1] = _mm256_fmadd_pd(factor, y1, sums[i][1]);
      sums[i][2] = _mm256_fmadd_pd(factor, y2, sums[i][2]);
    }
  }
  for (int i = 0; i < kOuterRows; ++i) {
    for (int j = 0; j < 3; ++j) {
      double* out = c + i * ldc + 4 * j;
      _mm256_storeu_pd(out, _mm256_add_pd(_mm256_loadu_pd(out), sums[i][j]));
    }
  }
}

}  // namespace fp8ref::cpu

#endif
