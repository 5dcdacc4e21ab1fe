// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/attention.md: weights from scores, and the correctly rounded quotient
// sum w_j v_j / sum w_j, whose weights have exponents without bound.
#pragma once

#include <cmath>
#include <cstdint>

#include "fp8ref/fixed.h"
#include "fp8ref/linear.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"
#include "fp8ref/settle.h"
#include "fp8ref/wide.h"

namespace fp8ref {

// ---- the factor of the scores ---------------------------------------------------------------------------------------

/// floor(2^192 * log2(e)). The partial quotients of log2(e) are at most 18 up to denominators of 2^80, and its square
/// has no run of more than 11 equal bits: 192 bits decide every comparison below.
FP8REF_HD Wide<4> log2_e() { return {{0xD6AEF551BAD2B4B1, 0x7D0FFDA0D23A7D11, 0x71547652B82FE177, 1}}; }

/// x * factor, which must not wrap.
template <int W>
FP8REF_HD Wide<W> scaled(Wide<W> x, std::uint64_t factor) {
  Wide<W> high = x;
  x.multiply(static_cast<std::uint32_t>(factor));
  high.multiply(static_cast<std::uint32_t>(factor >> 32));
  high.shift_left(32);
  x.add(high);
  return x;
}

/// log2(e) * scale against a midpoint.
struct ScaleCompare {
  double scale;

  FP8REF_HD int sign(double tau) const {
    const OddParts s = odd_parts(scale), t = odd_parts(tau);
    Wide<4> right;
    right.add_shifted(t.significand, 192 + t.exponent - s.exponent, false);  // near the left side, below 2^(54 + 192)
    return scaled(log2_e(), s.significand).compare(right);
  }
};

/// log2(e) * head_dim^-1/2 against a midpoint: log2(e)^2 against tau^2 * head_dim.
struct RootCompare {
  std::int64_t head_dim;

  FP8REF_HD int sign(double tau) const {
    const OddParts t = odd_parts(tau);
    Wide<4> right;
    right.limb[0] = t.significand * t.significand;  // 50 bits
    right = scaled(right, static_cast<std::uint64_t>(head_dim));
    right.shift_left(192 + 2 * t.exponent);
    return fixed_multiply(log2_e(), log2_e()).compare(right);
  }
};

/// c = RN32(log2(e) * scale), 0 < scale < 2^127. [ATTN-SCALE]
FP8REF_HD float attention_factor(double scale) {
  const Bracket range = bracket(1.4426950408889634 * scale, 0x1p-49);
  return range.closed() ? range.low : settle(range, ScaleCompare{scale});
}

/// c = RN32(log2(e) * head_dim^-1/2).
FP8REF_HD float attention_default_factor(std::int64_t head_dim) {
  const Bracket range = bracket(1.4426950408889634 / std::sqrt(static_cast<double>(head_dim)), 0x1p-49);
  return range.closed() ? range.low : settle(range, RootCompare{head_dim});
}

// ---- weights --------------------------------------------------------------------------------------------------------

/// A weight significand * 2^exponent, 128 <= significand < 256; the exponent is an integer, however large. A score of
/// -Inf is no term: exponent -Inf, significand 0. One of NaN or +Inf makes the row NaN: exponent +Inf.
struct Weight {
  float exponent;
  std::int32_t significand;
};

FP8REF_HD bool operator==(const Weight& a, const Weight& b) {
  return a.exponent == b.exponent && a.significand == b.significand;
}

/// ceil(2^32 * log2(1 + (2i + 1) / 256)), i < 128: the fraction of t from which 2^fraction rounds to more than
/// 1 + i / 128. Each logarithm is irrational, so no tie exists. [ATTN-WEIGHT]
FP8REF_HD std::uint32_t weight_threshold(int i) {
  // clang-format off
  static constexpr std::uint32_t kThresholds[128] = {
      0x01709C47, 0x044D8C46, 0x0724D8EF, 0x09F6984B, 0x0CC2DFE2, 0x0F89C4C2, 0x124B5B7F, 0x1507B837,
      0x17BEEE97, 0x1A7111E0, 0x1D1E34E4, 0x1FC66A10, 0x2269C36A, 0x25085297, 0x27A228DC, 0x2A375721,
      0x2CC7EDF6, 0x2F53FD90, 0x31DB95D1, 0x345EC647, 0x36DD9E2F, 0x39582C79, 0x3BCE7FC8, 0x3E40A673,
      0x40AEAE8A, 0x4318A5D6, 0x457E99DB, 0x47E097DC, 0x4A3EACD7, 0x4C98E58E, 0x4EEF4E83, 0x5141F3FC,
      0x5390E204, 0x55DC246D, 0x5823C6D1, 0x5A67D493, 0x5CA858E0, 0x5EE55EB2, 0x611EF0D0, 0x635519CF,
      0x6587E415, 0x67B759D7, 0x69E3851C, 0x6C0C6FC0, 0x6E322370, 0x7054A9B1, 0x72740BDC, 0x74905321,
      0x76A98889, 0x78BFB4F5, 0x7AD2E120, 0x7CE3159F, 0x7EF05AE5, 0x80FAB93C, 0x830238D0, 0x8506E1A8,
      0x8708BBAB, 0x8907CE9D, 0x8B042225, 0x8CFDBDC8, 0x8EF4A8ED, 0x90E8EADE, 0x92DA8AC6, 0x94C98FB4,
      0x96B6009B, 0x989FE451, 0x9A874193, 0x9C6C1F02, 0x9E4E8325, 0xA02E746A, 0xA20BF927, 0xA3E71797,
      0xA5BFD5E0, 0xA7963A0E, 0xA96A4A18, 0xAB3C0BDD, 0xAD0B8526, 0xAED8BBA9, 0xB0A3B502, 0xB26C76BC,
      0xB433064C, 0xB5F76913, 0xB7B9A45F, 0xB979BD69, 0xBB37B95A, 0xBCF39D45, 0xBEAD6E2E, 0xC0653104,
      0xC21AEAA7, 0xC3CE9FE4, 0xC5805579, 0xC7301012, 0xC8DDD449, 0xCA89A6AD, 0xCC338BB7, 0xCDDB87D6,
      0xCF819F67, 0xD125D6B8, 0xD2C83209, 0xD468B58C, 0xD6076565, 0xD7A445A9, 0xD93F5A60, 0xDAD8A785,
      0xDC703105, 0xDE05FAC0, 0xDF9A088B, 0xE12C5E2C, 0xE2BCFF5E, 0xE44BEFD1, 0xE5D93327, 0xE764CCF7,
      0xE8EEC0CE, 0xEA77122C, 0xEBFDC485, 0xED82DB46, 0xEF0659CC, 0xF088436E, 0xF2089B76, 0xF3876524,
      0xF504A3B0, 0xF6805A45, 0xF7FA8C06, 0xF9733C0C, 0xFAEA6D68, 0xFC60231F, 0xFDD4602F, 0xFF47278B,
  };
  // clang-format on
  return kThresholds[i];
}

/// 2^t rounded to 8 significant bits, times 2^7. [ATTN-WEIGHT]
FP8REF_HD Weight attention_weight(float t) {
  if (is_nan(t) || is_inf(t)) return {t < 0 ? -INFINITY : INFINITY, 0};
  const float whole = std::floor(t);
  const double fraction = static_cast<double>(t) - static_cast<double>(whole);
  // The fraction is a multiple of 2^-32, or |t| < 2^-8, and no threshold is near 0 or 1. (There the difference may
  // round to 1; then all thresholds are passed, and 256 is 128 with the next exponent.)
  // 128 (2^fraction - 1) + 1/2 within 1/20, lowered by 1/10: its floor is the count, or the count less one.
  const double estimate = 128 * fraction * (0.6951 + fraction * (0.2276 + fraction * 0.0773)) + 0.4;
  int passed = static_cast<int>(estimate);
  if (passed < 128 && fraction * 0x1p32 >= weight_threshold(passed)) ++passed;
  return passed == 128 ? Weight{add32(whole, 1.0f), 128} : Weight{whole, 128 + passed};
}

/// The weight of key k for query q: of t = RN32(c * RN32(q . k)), the dot exact. [ATTN-SCORE]
FP8REF_HD Weight attention_weight_exact(const bf16* q, const bf16* k, std::int64_t d, float c) {
  return attention_weight(mul32(c, linear_rn32(q, k, d, nullptr)));
}

struct CertifiedWeight {
  Weight value;
  bool proven;
};

/// The weight for a float64 dot that is within error / 2 of the exact one. Both roundings, the product with c >= 0
/// and the weight are monotone, so equal weights at both ends prove the weight. [ATTN-CERTIFY]
FP8REF_HD CertifiedWeight attention_weight_within(double dot, double error, float c) {
  if (!(std::fabs(dot) + error < INFINITY)) return {{0.0f, 0}, false};
  const float low = static_cast<float>(sub64(dot, error)), high = static_cast<float>(add64(dot, error));
  const Weight weight = attention_weight(mul32(c, low));
  return {weight, low == high || weight == attention_weight(mul32(c, high))};
}

/// What a row of queries contributes to the error of its float64 dots, from the sum of its squares in any order; the
/// other factor is the largest |k_i|, as |k| <= sqrt(d) max |k_i|. Any order of additions loses at most d * 2^-53 |q|
/// |k|, and the interval is twice that. [ATTN-CERTIFY]
FP8REF_HD double attention_row_error(double squares, std::int64_t d) {
  return sqrt64(squares * static_cast<double>(d)) * static_cast<double>(d) * (0x1p-52 * (1 + 0x1p-20));
}

/// A weight relative to 2^largest in float64, exactly; 0 for what is no term, and below 2^-600, which the error of the
/// quotient pays for. [ATTN-CERTIFY]
inline constexpr float kAttentionNegligible = -600;
FP8REF_HD double attention_relative(float exponent, std::int32_t significand, float largest) {
  const float relative = sub32(exponent, largest);
  if (!(relative > kAttentionNegligible) || significand == 0) return 0;
  return bit_cast<double>(static_cast<std::uint64_t>(1023 + static_cast<std::int32_t>(relative)) << 52) * significand;
}

// ---- the quotient ---------------------------------------------------------------------------------------------------

/// One output: the weights of `count` visible keys and one column of v.
struct AttentionColumn {
  const float* exponent;
  const std::uint8_t* significand;
  const bf16* v;
  std::int64_t stride;  // of v
  std::int64_t count;   // below 2^40

  FP8REF_HD bf16 value(std::int64_t j) const { return v[j * stride]; }
};

/// bf16 numbers in order as integers: -0 is -1 and +0 is 0.
FP8REF_HD int ordinal(bf16 x) { return x.bits < 0x8000 ? x.bits : 0x7FFF - x.bits; }
FP8REF_HD bf16 bf16_of(int ordinal) {
  return bf16{static_cast<std::uint16_t>(ordinal >= 0 ? ordinal : 0x7FFF - ordinal)};
}

/// The midpoint of the number with this ordinal and the next; 0 between -0 and +0.
FP8REF_HD Bf16Parts midpoint_above(int ordinal) {
  if (ordinal == -1) return {false, 0, -134};
  const Bf16Parts inner = parts(bf16_of(ordinal >= 0 ? ordinal : ordinal + 1));  // the one nearer to 0
  return {inner.negative, 2 * inner.magnitude + 1, inner.exponent - 1};
}

/// Who works out one output: threads of which each takes every step-th term, and gets the sum or the maximum of what
/// all have. On the CPU it is one.
struct OneThread {
  FP8REF_HD std::int64_t first() const { return 0; }
  FP8REF_HD std::int64_t step() const { return 1; }
  template <class T>
  FP8REF_HD T sum(const T& x) const {
    return x;
  }
  template <class T>
  FP8REF_HD T largest(T x) const {
    return x;
  }
};

/// The sign of sum w_j (v_j - tau), exactly: with D = sum w_j > 0 it is the sign of N / D - tau. Terms are taken by
/// descending exponent, as integers in units of 2^-134 times the power of two in hand. A level's sum, and the sum of
/// all that is below it, is less than 2^(8 + 263 + 40): an integer that the next shift takes past 2^311 has its sign
/// for good, so gaps between exponents may be of any size. All terms are finite. [ATTN-EXACT]
FP8REF_TEAM
template <class Team>
FP8REF_HD int attention_sign(const AttentionColumn& column, const Bf16Parts& tau, const Team& team) {
  constexpr int kUnit = -134, kDecided = 312;
  Wide<6> sum;
  float level = INFINITY;
  for (;;) {
    Wide<6> terms;
    float next = -INFINITY;  // the largest exponent below this level
    for (std::int64_t j = team.first(); j < column.count; j += team.step()) {
      const float exponent = column.exponent[j];
      if (exponent < level) next = exponent > next ? exponent : next;
      if (exponent != level) continue;
      const std::uint32_t w = column.significand[j];
      const Bf16Parts v = parts(column.value(j));
      terms.add_shifted(w * v.magnitude, v.exponent - kUnit, v.negative);
      terms.add_shifted(w * tau.magnitude, tau.exponent - kUnit, !tau.negative);
    }
    sum.add(team.sum(terms));
    next = team.largest(next);
    if (next == -INFINITY) return sum.sign();
    const int sign = sum.sign();
    if (sign != 0) {
      const double gap = static_cast<double>(level) - static_cast<double>(next);
      Wide<6> magnitude = sum;
      if (sign < 0) magnitude.negate();
      if (magnitude.length() + gap >= kDecided) return sign;
      sum.shift_left(static_cast<int>(gap));
    }
    level = next;
  }
}

/// RNbf(N / D), known to lie between two ordinals. A zero N gives +0; an underflow keeps its sign.
FP8REF_TEAM
template <class Team = OneThread>
FP8REF_HD bf16 attention_between(const AttentionColumn& column, int low, int high, const Team& team = {}) {
  while (low < high) {
    const int below = low + (high - low) / 2;
    const int sign = attention_sign(column, midpoint_above(below), team);
    const bool up_at_tie = below == -1 || (bf16_of(below).bits & 1) != 0;
    if (sign > 0 || (sign == 0 && up_at_tie)) {
      low = below + 1;
    } else {
      high = below;
    }
  }
  return bf16_of(low);
}

/// One output from weights of which none makes the row NaN: of no term +0; NaN and infinities among the v of terms
/// follow the IEEE sum; else the correctly rounded average, which lies between the least and the largest v.
/// [ATTN-OUTPUT]
FP8REF_TEAM
template <class Team = OneThread>
FP8REF_HD bf16 attention_output(const AttentionColumn& column, const Team& team = {}) {
  int nan = 0, infinite[2] = {0, 0};  // +Inf, -Inf
  int low = 0x8000, high = -0x8000;
  for (std::int64_t j = team.first(); j < column.count; j += team.step()) {
    const bf16 v = column.value(j);
    if (column.significand[j] == 0) continue;
    if (is_nan(v)) nan = 1;
    if (is_inf(v)) infinite[v.bits >> 15] = 1;
    low = ordinal(v) < low ? ordinal(v) : low;
    high = ordinal(v) > high ? ordinal(v) : high;
  }
  const int plus = team.largest(infinite[0]), minus = team.largest(infinite[1]);
  low = -team.largest(-low);
  high = team.largest(high);
  if (team.largest(nan) != 0 || (plus != 0 && minus != 0)) return bf16{kNanBf16};
  if (plus != 0 || minus != 0) return bf16_of(plus != 0 ? high : low);
  if (low > high) return bf16{0};
  return attention_between(column, low, high < 0 ? 0 : high, team);  // a sum of zeros is +0
}

/// The output from float64 sums N and D of `count` terms in any order, if they prove it; `largest` bounds |v|.
struct CertifiedOutput {
  bf16 low, high;
  FP8REF_HD bool proven() const { return low.bits == high.bits; }
};

/// Each sum is off by at most count * 2^-53 of sum w |v| or of D, the quotient by twice that of `largest`, and by its
/// own rounding; the bounds here are twice as wide. [ATTN-CERTIFY]
FP8REF_HD CertifiedOutput attention_within(double n, double d, double largest, std::int64_t count) {
  const double quotient = n / d;
  const double error = largest * (static_cast<double>(count + 1) * 0x1p-51);
  return {rnbf(sub64(quotient, error)), rnbf(add64(quotient, error))};
}

}  // namespace fp8ref
