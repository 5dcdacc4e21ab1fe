// SPDX-License-Identifier: Apache-2.0
// The chain kernels for AVX2 with FMA and F16C: 8 outputs to a vector.
#include "avx2.h"
#include "chain_kernels.h"

#ifdef FP8REF_HAS_AVX2
#include <cstring>

namespace fp8ref::cpu {
namespace {

// ---- packing --------------------------------------------------------------------------------------------------------
/// Transposes 8 rows of 8 pairs of codes: out[p] is pair p of the 8 rows.
FP8REF_AVX2 inline void transpose_pairs(const __m128i* rows, __m128i* out) {
  __m128i x[8], y[8];
  for (int i = 0; i < 4; ++i) {
    x[2 * i] = _mm_unpacklo_epi16(rows[i], rows[i + 4]);
    x[2 * i + 1] = _mm_unpackhi_epi16(rows[i], rows[i + 4]);
  }
  for (int i = 0; i < 4; ++i) {
    y[2 * i] = _mm_unpacklo_epi16(x[i], x[i + 4]);
    y[2 * i + 1] = _mm_unpackhi_epi16(x[i], x[i + 4]);
  }
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = _mm_unpacklo_epi16(y[i], y[i + 4]);
    out[2 * i + 1] = _mm_unpackhi_epi16(y[i], y[i + 4]);
  }
}

/// Exponents of 16 codes of E4M3.
FP8REF_AVX2 inline __m128i exponents(__m128i codes) {
  const __m128i field = _mm_and_si128(_mm_srli_epi16(codes, 3), _mm_set1_epi8(15));
  const __m128i exponent = _mm_sub_epi8(_mm_max_epu8(field, _mm_set1_epi8(1)), _mm_set1_epi8(7));
  const __m128i magnitude = _mm_and_si128(codes, _mm_set1_epi8(0x7F));
  return _mm_blendv_epi8(exponent, _mm_set1_epi8(kNarrowZero), _mm_cmpeq_epi8(magnitude, _mm_setzero_si128()));
}

FP8REF_AVX2 void pack_e4m3(const e4m3* const* rows, NarrowTile* tile) {
  const __m128i by_k = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  const __m256 unscale = _mm256_set1_ps(0x1p8f);
  for (int half = 0; half < 2; ++half) {
    __m128i row[kChainColumns], pair[8], exponent[8];
    for (int i = 0; i < kChainColumns; ++i) row[i] = load16(rows[i] + 16 * half);
    transpose_pairs(row, pair);
    for (int i = 0; i < 8; ++i) {
      const __m256i halves = halves_of(_mm_shuffle_epi8(pair[i], by_k));
      float (*value)[kChainColumns] = tile->value + 16 * half + 2 * i;
      _mm256_store_ps(value[0], _mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), unscale));
      _mm256_store_ps(value[1], _mm256_mul_ps(_mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1)), unscale));
      exponent[i] = exponents(pair[i]);
    }
    for (int i = 0; i < 4; ++i) {
      const __m128i low = _mm_unpacklo_epi16(exponent[2 * i], exponent[2 * i + 1]);
      const __m128i high = _mm_unpackhi_epi16(exponent[2 * i], exponent[2 * i + 1]);
      _mm256_store_si256(reinterpret_cast<__m256i*>(tile->exponent[4 * half + i]), _mm256_set_m128i(high, low));
    }
  }
}

// ---- numbers --------------------------------------------------------------------------------------------------------
/// 2^exponent, for exponents from -127 (which gives 0) to 127.
FP8REF_AVX2 inline __m256 power_of_two(__m256i exponent) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(exponent, _mm256_set1_epi32(127)), 23));
}

FP8REF_AVX2 inline __m256d power_of_two(__m128i exponent) {
  const __m256i field = _mm256_cvtepi32_epi64(_mm_add_epi32(exponent, _mm_set1_epi32(1023)));
  return _mm256_castsi256_pd(_mm256_slli_epi64(field, 52));
}

FP8REF_AVX2 inline __m128i low_half(__m256i x) { return _mm256_castsi256_si128(x); }
FP8REF_AVX2 inline __m128i high_half(__m256i x) { return _mm256_extracti128_si256(x, 1); }

FP8REF_AVX2 inline __m256 joined(__m256d low, __m256d high) {
  return _mm256_set_m128(_mm256_cvtpd_ps(high), _mm256_cvtpd_ps(low));
}

/// The first significant bits of x, toward zero; with `odd`, one more that tells of others after it.
template <int significant_bits, bool odd = false>
FP8REF_AVX2 inline __m256d leading_bits(__m256d x) {
  constexpr long long kLast = 1LL << (53 - significant_bits);
  const __m256i bits = _mm256_castpd_si256(x);
  __m256i kept = _mm256_and_si256(bits, _mm256_set1_epi64x(-kLast));
  if constexpr (odd) {
    const __m256i exact = _mm256_cmpeq_epi64(bits, kept);
    kept = _mm256_or_si256(kept, _mm256_andnot_si256(exact, _mm256_set1_epi64x(kLast)));
  }
  return _mm256_castsi256_pd(kept);
}

/// RN16, as fp32; never -0.
FP8REF_AVX2 inline __m256 round_half(__m256 x) {
  return _mm256_add_ps(_mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT)), _mm256_setzero_ps());
}

/// `after`, but where the accumulator has overflowed before the step, that infinity.
FP8REF_AVX2 inline __m256 keep_infinite(__m256 before, __m256 after) {
  const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), before);
  return _mm256_blendv_ps(after, before, _mm256_cmp_ps(magnitude, _mm256_set1_ps(INFINITY), _CMP_EQ_OQ));
}

FP8REF_AVX2 inline __m256i raw_exponent(__m256 x) {
  const __m256i field = _mm256_and_si256(_mm256_srli_epi32(_mm256_castps_si256(x), 23), _mm256_set1_epi32(255));
  return _mm256_sub_epi32(field, _mm256_set1_epi32(127));
}

/// The exponent that an accumulator brings into its step.
template <TensorCore core>
FP8REF_AVX2 inline __m256i own_exponent(__m256 accumulator) {
  constexpr int kLowest = core.result == Conversion::fp16 ? -14 : -126;
  const __m256i exponent = _mm256_max_epi32(raw_exponent(accumulator), _mm256_set1_epi32(kLowest));
  const __m256 zero = _mm256_cmp_ps(accumulator, _mm256_setzero_ps(), _CMP_EQ_OQ);
  return _mm256_blendv_epi8(exponent, _mm256_set1_epi32(core.floor), _mm256_castps_si256(zero));
}

// ---- narrow steps ---------------------------------------------------------------------------------------------------
/// The largest exponent of a block's products and of the accumulator.
template <TensorCore core>
FP8REF_AVX2 inline __m256i largest_exponent(const NarrowRow& a, const NarrowTile& b, int first, __m256 accumulator) {
  constexpr int kFloor = core.floor > kNarrowFloor ? core.floor : kNarrowFloor;
  __m256i top = _mm256_set1_epi8(kNarrowZero);
  for (int k = first; k < first + core.block; k += 4) {
    const __m256i exponent = _mm256_load_si256(reinterpret_cast<const __m256i*>(b.exponent[k / 4]));
    std::int32_t four;
    std::memcpy(&four, a.exponent + k, sizeof(four));
    top = _mm256_max_epi8(top, _mm256_adds_epi8(exponent, _mm256_set1_epi32(four)));
  }
  top = _mm256_max_epi8(top, _mm256_srli_epi32(top, 16));
  top = _mm256_max_epi8(top, _mm256_srli_epi32(top, 8));
  top = _mm256_srai_epi32(_mm256_slli_epi32(top, 24), 24);
  // fp32 accumulators of narrow chains are 0, whose exponent of -127 the floor hides, or normal.
  const __m256i own = core.result == Conversion::fp16 ? own_exponent<core>(accumulator) : raw_exponent(accumulator);
  return _mm256_max_epi32(_mm256_max_epi32(top, own), _mm256_set1_epi32(kFloor));
}

/// Sums that 32 bits hold: half of the products each, the accumulator with one of them. Terms are below 2^(F + 2), so
/// that with F = 25 eight fit; 16 of FP8, whose products are at most 3.52, fit with the accumulator's 2^26 as well.
struct Sums {
  __m256i even, odd;
};

/// The result of a step from its sum [MMA-RESULT]; no subnormal fp32 numbers, no fp32 overflow.
template <TensorCore core>
FP8REF_AVX2 inline __m256 narrow_result(Sums sum, __m256i top) {
  const __m256 unit = power_of_two(_mm256_sub_epi32(top, _mm256_set1_epi32(core.fraction_bits)));
  if constexpr (core.fraction_bits == 13) {  // at most 33 terms below 2^15: exact in fp32
    const __m256 total = _mm256_cvtepi32_ps(_mm256_add_epi32(sum.even, sum.odd));
    if constexpr (core.result == Conversion::fp16) return round_half(_mm256_mul_ps(total, unit));
    const __m256 cut = _mm256_and_ps(total, _mm256_castsi256_ps(_mm256_set1_epi32(~0x3FF)));  // 14 bits are left
    return _mm256_mul_ps(cut, unit);
  } else {
    constexpr bool kHalf = core.result == Conversion::fp16;
    const __m256d low = _mm256_add_pd(_mm256_cvtepi32_pd(low_half(sum.even)), _mm256_cvtepi32_pd(low_half(sum.odd)));
    const __m256d high = _mm256_add_pd(_mm256_cvtepi32_pd(high_half(sum.even)), _mm256_cvtepi32_pd(high_half(sum.odd)));
    const __m256 total = _mm256_mul_ps(joined(leading_bits<24, kHalf>(low), leading_bits<24, kHalf>(high)), unit);
    return kHalf ? round_half(total) : total;
  }
}

/// The products of a block, starting at `first`, and the accumulator.
template <TensorCore core>
FP8REF_AVX2 inline __m256 step(const NarrowRow& a, const NarrowTile& b, int first, __m256 accumulator) {
  const __m256i top = largest_exponent<core>(a, b, first, accumulator);
  const __m256 scale = power_of_two(_mm256_sub_epi32(_mm256_set1_epi32(core.fraction_bits), top));
  Sums sum{_mm256_cvttps_epi32(_mm256_mul_ps(accumulator, scale)), _mm256_setzero_si256()};
  for (int k = first; k < first + core.block; k += 2) {
    const __m256 x = _mm256_mul_ps(_mm256_set1_ps(a.value[k]), _mm256_load_ps(b.value[k]));
    const __m256 y = _mm256_mul_ps(_mm256_set1_ps(a.value[k + 1]), _mm256_load_ps(b.value[k + 1]));
    sum.even = _mm256_add_epi32(sum.even, _mm256_cvttps_epi32(_mm256_mul_ps(x, scale)));
    sum.odd = _mm256_add_epi32(sum.odd, _mm256_cvttps_epi32(_mm256_mul_ps(y, scale)));
  }
  const __m256 result = narrow_result<core>(sum, top);
  return core.result == Conversion::fp16 ? keep_infinite(accumulator, result) : result;
}

// ---- wide steps -----------------------------------------------------------------------------------------------------
/// A step's sum, an integer times 2^scale, cut to the result's bits and to its smallest quantum; at most 24 bits are
/// left, so that only an overflow is rounded, to infinity.
template <TensorCore core>
FP8REF_AVX2 inline __m256d wide_result(__m256d sum, __m128i scale) {
  constexpr int kBits = core.result == Conversion::e8m13 ? 14 : 24;
  constexpr int kQuantum = -126 - (kBits - 1);
  const __m256d quanta = power_of_two(_mm_sub_epi32(scale, _mm_set1_epi32(kQuantum)));
  const __m256d kept =
      _mm256_round_pd(_mm256_mul_pd(leading_bits<kBits>(sum), quanta), _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
  const __m256d result = _mm256_mul_pd(kept, power_of_two(_mm_set1_epi32(kQuantum)));
  return _mm256_add_pd(result, _mm256_setzero_pd());  // no -0
}

template <TensorCore core>
FP8REF_AVX2 inline __m256 step(const WideRow& a, const WideTile& b, int first, __m256 accumulator) {
  auto exponent = [&](int k) FP8REF_AVX2 {
    return _mm256_add_epi32(_mm256_set1_epi32(a.exponent[k]),
                            _mm256_load_si256(reinterpret_cast<const __m256i*>(b.exponent[k])));
  };
  __m256i top = _mm256_max_epi32(own_exponent<core>(accumulator), _mm256_set1_epi32(core.floor));
  for (int k = first; k < first + core.block; ++k) top = _mm256_max_epi32(top, exponent(k));

  const __m256i to_grid = _mm256_sub_epi32(_mm256_set1_epi32(core.fraction_bits), top);
  const __m256i least = _mm256_set1_epi32(-127);  // where a term is 0
  auto term = [&](int k) FP8REF_AVX2 {
    const __m256 product = _mm256_mul_ps(_mm256_set1_ps(a.value[k]), _mm256_load_ps(b.value[k]));
    const __m256 scale = power_of_two(_mm256_max_epi32(_mm256_add_epi32(exponent(k), to_grid), least));
    return _mm256_cvttps_epi32(_mm256_mul_ps(product, scale));
  };
  Sums sum{_mm256_setzero_si256(), _mm256_setzero_si256()};
  for (int k = first; k < first + core.block; k += 2) {
    sum.even = _mm256_add_epi32(sum.even, term(k));
    sum.odd = _mm256_add_epi32(sum.odd, term(k + 1));
  }
  auto result = [&](__m128i even, __m128i odd, __m128 own, __m128i shift) FP8REF_AVX2 {
    const __m256d scaled = _mm256_mul_pd(_mm256_cvtps_pd(own), power_of_two(shift));
    const __m256d products = _mm256_add_pd(_mm256_cvtepi32_pd(even), _mm256_cvtepi32_pd(odd));
    const __m256d total = _mm256_add_pd(products, _mm256_round_pd(scaled, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC));
    return wide_result<core>(total, _mm_sub_epi32(_mm_setzero_si128(), shift));
  };
  const __m256d low =
      result(low_half(sum.even), low_half(sum.odd), _mm256_castps256_ps128(accumulator), low_half(to_grid));
  const __m256d high =
      result(high_half(sum.even), high_half(sum.odd), _mm256_extractf128_ps(accumulator, 1), high_half(to_grid));
  return keep_infinite(accumulator, joined(low, high));
}

// ---- chains ---------------------------------------------------------------------------------------------------------
template <TensorCore core, class Row, class Tile>
FP8REF_AVX2 void chain(const Row* a, const Tile* b, std::int64_t steps, float* accumulators) {
  __m256 accumulator = _mm256_loadu_ps(accumulators);
  for (std::int64_t i = 0; i < steps; ++i) {
    if constexpr (core.order == Order::chain) {
      for (int k = 0; k < kChainDepth; k += core.block) accumulator = step<core>(a[i], b[i], k, accumulator);
    } else {
      const __m256 half = step<core>(a[i], b[i], 0, _mm256_setzero_ps());
      accumulator = _mm256_add_ps(step<core>(a[i], b[i], core.block, half), accumulator);
      // The sum of two fp16 numbers rounded to fp32 and then to fp16 is rounded once: 24 >= 2 * 11 + 2 bits.
      if constexpr (core.result == Conversion::fp16) accumulator = round_half(accumulator);
    }
  }
  _mm256_storeu_ps(accumulators, accumulator);
}

template <std::size_t index>
constexpr WideChain wide_chain() {
  if constexpr (may_be_wide(kCores[index])) return chain<kCores[index], WideRow, WideTile>;
  return nullptr;
}

template <std::size_t... index>
constexpr ChainKernels table(std::index_sequence<index...>) {
  return {{chain<kCores[index], NarrowRow, NarrowTile>...}, {wide_chain<index>()...}, pack_e4m3};
}

}  // namespace

const ChainKernels& avx2_chains() {
  static constexpr ChainKernels kernels = table(std::make_index_sequence<kCoreCount>());
  return kernels;
}

}  // namespace fp8ref::cpu

#endif
