// SPDX-License-Identifier: Apache-2.0
// Every elementary function against MPFR: `sweep` on a sample of inputs, `sweep --exhaustive` on all that there are
// (2^32 where the input is fp32), with a record as JSON on stdout. A function is right where its bits are those of the
// real value rounded once.
#include "sweep.h"

#include <chrono>
#include <cstring>
#include <functional>
#include <string>

#include "fp8ref/attention.h"
#include "fp8ref/cpu.h"
#include "fp8ref/e4m3.h"
#include "fp8ref/residual.h"
#include "fp8ref/rmsnorm.h"
#include "fp8ref/route.h"
#include "fp8ref/silu_mul.h"
#include "fp8ref/temperature.h"
#include "sweep_turns.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

constexpr Range kFinite{0, 0x7F7FFFFF};             // the finite magnitudes
constexpr Range kInfinite{0x7F800000, 0x7FFFFFFF};  // infinity, then NaNs
constexpr std::uint32_t kStride = 65521;            // of a sample: a prime

/// One sign, magnitudes as patterns: all of them by steps, or a sample.
template <class Result, class Right>
Tally both_signs(const char* name, bool exhaustive, const Result& result, const Right& right) {
  Tally total;
  for (const std::uint32_t sign : {0u, 0x80000000u}) {
    const Range range{kFinite.first | sign, kFinite.last | sign};
    total.add(exhaustive ? sweep_steps(name, range, result, right) : sweep_sample(name, range, kStride, result, right));
  }
  return total;
}

/// Inputs without a real value: `held` says what the page says.
template <class Held>
void specials(const char* name, bool exhaustive, Tally& tally, const Held& held) {
  for (const std::uint32_t sign : {0u, 0x80000000u}) {
    const Range range{kInfinite.first | sign, kInfinite.last | sign};
    tally.add(in_pieces(range, 1 << 20, [&](Range part, Tally& found) {
      for (std::uint64_t bits = part.first; bits <= part.last; bits += exhaustive ? 1 : kStride) {
        found.see(held(float_of(static_cast<std::uint32_t>(bits))), name, static_cast<std::uint32_t>(bits));
        ++found.inputs;
      }
    }));
  }
}

/// RN8 of every fp32 number: a scalar function, and the array loop against it.
template <class Encode>
Tally encodes(bool exhaustive, Overflow overflow, const Encode& encode) {
  auto past = [overflow](std::uint32_t sign) {
    return overflow == Overflow::nan ? 0x7Fu : 0x7E | (sign != 0 ? 0x80u : 0u);
  };
  auto result = [&](std::uint32_t bits) { return encode(float_of(bits), overflow).bits; };
  auto right = [past](std::uint32_t bits, std::uint8_t code) {
    const std::uint32_t magnitude = rn8_of(float_of(bits)), sign = bits & 0x80000000;
    return code == (magnitude == 0x7F ? past(sign) : magnitude | (sign != 0 ? 0x80u : 0u));
  };
  Tally tally = both_signs("encode", exhaustive, result, right);
  specials("encode", exhaustive, tally,
           [&](float x) { return encode(x, overflow).bits == (is_nan(x) ? 0x7F : past(bits_of(x) & 0x80000000)); });
  tally.add(in_pieces({0, 0xFFFFFFFF}, exhaustive ? 1 << 20 : 1u << 28, [&](Range part, Tally& found) {
    const std::size_t count = exhaustive ? std::size_t{part.last} - part.first + 1 : 4096;
    std::vector<float> x(count);
    std::vector<e4m3> codes(count);
    for (std::size_t i = 0; i < count; ++i) x[i] = float_of(part.first + static_cast<std::uint32_t>(i));
    cpu::encode(x.data(), count, overflow, codes.data());
    for (std::size_t i = 0; i < count; ++i) {
      found.see(codes[i].bits == encode(x[i], overflow).bits, "encode of an array", bits_of(x[i]));
    }
  }));
  return tally;
}

/// 2^t to 8 significant bits. Integers t, all of magnitude 2^23 and more among them, give a power of two.
template <class Function>
Tally weights(bool exhaustive, const Function& function) {
  struct Kept {
    float exponent;
    std::int32_t significand;
    bool operator==(const Kept& other) const {
      return bits_of(exponent) == bits_of(other.exponent) && significand == other.significand;
    }
  };
  auto result = [&](std::uint32_t bits) {
    const Weight weight = function(float_of(bits));
    return Kept{weight.exponent + 0.0f, weight.significand};
  };
  auto right = [](std::uint32_t bits, const Kept& kept) {
    const float t = float_of(bits), whole = std::floor(t) + 0.0f;
    if (whole == t) return kept == Kept{whole, 128};
    const int power = power_of(t);
    return kept == (power == 256 ? Kept{whole + 1.0f, 128} : Kept{whole, power});
  };
  Tally tally = both_signs("attention weight", exhaustive, result, right);
  specials("attention weight", exhaustive, tally, [&](float t) {
    const Weight weight = function(t);
    return weight.significand == 0 && weight.exponent == (t < 0 ? -INFINITY : INFINITY);
  });
  return tally;
}

/// 1 / sqrt(v). Dividing v by 4 doubles the result exactly, and no result is subnormal: so MPFR gives the results for
/// 1 <= v < 4, and those of all other v follow.
template <class Root>
Tally reciprocal_roots(bool exhaustive, const Root& function) {
  constexpr std::uint32_t kOne = 0x3F800000, kCount = 1 << 24;
  std::vector<float> table(kCount);
  const std::uint32_t stride = exhaustive ? 1 : 251;
  in_pieces({kOne, kOne + kCount - 1}, stride << 10, [&](Range part, Tally&) {
    for (std::uint64_t bits = part.first; bits <= part.last; bits += stride) {
      const auto u = static_cast<std::uint32_t>(bits);
      table[u - kOne] = rn32_of(mpfr_rec_sqrt, float_of(u));
    }
  });
  Tally tally = in_pieces({1, kFinite.last}, 1 << 22, [&](Range part, Tally& found) {
    for (std::uint64_t bits = part.first; bits <= part.last; bits += exhaustive ? 1 : kStride) {
      const auto u = static_cast<std::uint32_t>(bits);
      int exponent = 0;
      const float fraction = std::frexp(float_of(u), &exponent);  // in [1/2, 1)
      const int quarters = (exponent - 1) >> 1;                   // v = m 4^quarters, 1 <= m < 4
      const float m = std::ldexp(fraction, exponent - 2 * quarters);
      const std::uint32_t index = bits_of(m) - kOne;
      const float root = exhaustive || index % stride == 0 ? table[index] : rn32_of(mpfr_rec_sqrt, m);
      found.see(bits_of(function(float_of(u))) == bits_of(std::ldexp(root, -quarters)), "1/sqrt", u);
      ++found.inputs;
    }
  });
  tally.see(bits_of(function(INFINITY)) == 0, "1/sqrt", kInfinite.first);
  tally.see(is_nan(function(float_of(0x7FC00000))), "1/sqrt", 0x7FC00000);
  return tally;
}

/// cos and sin. Below 2^-12 the result is 1 or x, by steps for the cosine and one by one for the sine.
template <class Turn>
Tally turns(bool exhaustive, const Turn& turn) {
  constexpr std::uint32_t kSmall = 0x39800000;  // 2^-12
  auto right = [](std::uint32_t bits, const CosSin& found) {
    const float x = float_of(bits);
    return bits_of(rn32_of(mpfr_cos, x)) == bits_of(found.cos) && bits_of(rn32_of(mpfr_sin, x)) == bits_of(found.sin);
  };
  auto result = [&](std::uint32_t bits) { return turn(float_of(bits)); };
  if (!exhaustive) return sweep_sample("cos and sin", kFinite, kStride, result, right);
  // The cosine falls from 1 and must be 1 at the end; x - sin(x) < x^3 / 6, so sin is x if x^3 / 6 is below half of
  // ulp(x) / 2, which grows more slowly than x^3: the last x of each binade decides for all of it.
  Tally tally;
  for (std::uint64_t last = 0x007FFFFF; last < kSmall; last += 0x00800000) {
    const auto bits = static_cast<std::uint32_t>(last);
    tally.see(right(bits, {1.0f, float_of(bits)}), "cos and sin", bits);
  }
  tally.add(in_pieces({0, kSmall - 1}, 1 << 22, [&](Range part, Tally& found) {
    for (std::uint32_t bits = part.first;; ++bits) {
      for (const std::uint32_t signed_bits : {bits, bits | 0x80000000}) {
        const CosSin value = result(signed_bits);
        found.see(bits_of(value.cos) == 0x3F800000 && bits_of(value.sin) == signed_bits, "cos and sin", signed_bits);
      }
      found.inputs += 2;
      if (bits == part.last) break;
    }
  }));
  tally.add(sweep_turns(kSmall, turn));
  specials("cos and sin", exhaustive, tally, [&](float x) {
    const CosSin value = turn(x);
    return is_nan(value.cos) && is_nan(value.sin);
  });
  return tally;
}

/// All bf16 numbers: `held` compares with MPFR.
template <class Held>
Tally every_bf16(const char* name, const Held& held) {
  return in_pieces({0, 0xFFFF}, 256, [&](Range part, Tally& found) {
    for (std::uint32_t bits = part.first;; ++bits) {
      found.see(held(bf16{static_cast<std::uint16_t>(bits)}), name, bits);
      ++found.inputs;
      if (bits == part.last) break;
    }
  });
}

/// RN32(silu).
template <class Silu>
Tally silus(const Silu& function) {
  return every_bf16("silu", [&](bf16 g) {
    const float x = widen(g), y = function(g);
    if (is_nan(x) || x == -INFINITY) return is_nan(y);
    return bits_of(y) == bits_of(is_inf(x) ? x : silu_of(x));
  });
}

/// The scores of a router, also of the sigmoid 2^-27 of itself away: whatever exp there is, its last bits do not
/// matter.
template <class Score>
Tally scores(const Score& function) {
  return every_bf16("sigmoid", [&](bf16 l) {
    const float x = widen(l);
    const bf16 y = function(l);
    if (is_nan(x) || is_inf(x)) return y.bits == (is_nan(x) ? kNanBf16 : x > 0 ? 0x3F80 : 0);
    bool held = true;
    for (const double factor : {1 - 0x1p-27, 1.0, 1 + 0x1p-27}) held &= rnbf(sigmoid_of(x, factor)).bits == y.bits;
    return held;
  });
}

/// RNbf(tanh), likewise by 2^-17.
template <class Tanh>
Tally tangents(const Tanh& function) {
  return every_bf16("tanh", [&](bf16 g) {
    const float x = widen(g);
    const bf16 y = function(g);
    if (is_nan(x) || is_inf(x)) return y.bits == (is_nan(x) ? kNanBf16 : x > 0 ? 0x3F80 : 0xBF80);
    bool held = true;
    for (const double factor : {1 - 0x1p-17, 1.0, 1 + 0x1p-17})
      held &= bits_of(tanh_of(x, factor)) == bits_of(widen(y));
    return held;
  });
}

/// ln(1 + n) of whole numbers: 0, 1 to 2^24, and all fp32 numbers from there on.
template <class Log1p>
Tally logarithms(bool exhaustive, const Log1p& function) {
  constexpr std::uint32_t kWhole = 0x4B800000;  // 2^24
  auto result = [&](std::uint32_t bits) { return bits_of(function(float_of(bits))); };
  auto right = [](std::uint32_t bits, std::uint32_t found) { return bits_of(log1p_of(float_of(bits))) == found; };
  Tally tally = in_pieces({1, (1 << 24) - 1}, 1 << 16, [&](Range part, Tally& found) {
    for (std::uint32_t n = part.first; n <= part.last; n += exhaustive ? 1 : 251) {
      const std::uint32_t bits = bits_of(static_cast<float>(n));
      found.see(right(bits, result(bits)), "log1p", bits);
      ++found.inputs;
    }
  });
  const Range large{kWhole, kFinite.last};
  tally.add(exhaustive ? sweep_steps("log1p", large, result, right)
                       : sweep_sample("log1p", large, kStride, result, right));
  tally.see(result(0) == 0, "log1p", 0);
  tally.see(result(kInfinite.first) == kInfinite.first, "log1p", kInfinite.first);
  tally.inputs += 2;
  return tally;
}

// ---- the functions, and careless ones that must be noticed ----------------------------------------------------------

/// Ties away from zero.
e4m3 careless_encode(float x, Overflow overflow) {
  return encode(bit_cast<float>(bits_of(x) + (is_nan(x) || is_inf(x) ? 0 : 1)), overflow);
}
float careless_silu(bf16 g) { return widen(g) / (1.0f + std::exp(-widen(g))); }
bf16 careless_score(bf16 l) { return rnbf(1.0f / (1.0f + std::exp(-widen(l)))); }
bf16 careless_tanh(bf16 g) {
  const float power = std::exp(2 * widen(g));
  return rnbf((power - 1.0f) / (power + 1.0f));
}
float careless_log1p(float n) { return std::log1p(n); }
Weight careless_weight(float t) {
  const Weight weight = attention_weight(t);
  return {weight.exponent, weight.significand | 1};
}
float careless_root(float v) { return 1.0f / std::sqrt(v); }
CosSin careless_turn(float x) {  // pi of float64 is too short to take turns off large angles
  const double angle = std::fmod(static_cast<double>(x), 6.283185307179586);
  return {rn32(std::cos(angle)), rn32(std::sin(angle))};
}

struct Row {
  const char* name;
  const char* type;
  std::function<Tally(bool exhaustive)> run;
  std::function<Tally()> careless;
};

std::vector<Row> rows() {
  auto code = [](float x, Overflow overflow) { return encode(x, overflow); };
  auto encode_row = [code](const char* name, Overflow overflow) {
    return Row{name, "fp32", [=](bool all) { return encodes(all, overflow, code); },
               [=] { return encodes(false, overflow, careless_encode); }};
  };
  return {
      encode_row("encode, saturate", Overflow::saturate),
      encode_row("encode, nan", Overflow::nan),
      {"silu", "bf16", [](bool) { return silus(silu); }, [] { return silus(careless_silu); }},
      {"sigmoid", "bf16", [](bool) { return scores(route_score); }, [] { return scores(careless_score); }},
      {"tanh", "bf16", [](bool) { return tangents(gate_tanh); }, [] { return tangents(careless_tanh); }},
      {"log1p", "fp32, whole", [](bool all) { return logarithms(all, whole_log1p); },
       [] { return logarithms(false, careless_log1p); }},
      {"2^t to 8 bits", "fp32", [](bool all) { return weights(all, attention_weight); },
       [] { return weights(false, careless_weight); }},
      {"1/sqrt", "fp32 > 0", [](bool all) { return reciprocal_roots(all, reciprocal_sqrt); },
       [] { return reciprocal_roots(false, careless_root); }},
      {"cos and sin", "fp32", [](bool all) { return turns(all, cos_sin); }, [] { return turns(false, careless_turn); }},
  };
}

/// One object of the record.
void print(const Row& row, const Tally& tally, double seconds) {
  std::printf(
      "  {\"function\": \"%s\", \"type\": \"%s\", \"inputs\": %lld, \"differ\": %lld, "
      "\"evaluations\": %lld, \"seconds\": %.1f}",
      row.name, row.type, static_cast<long long>(tally.inputs), static_cast<long long>(tally.differ),
      static_cast<long long>(evaluations.load()), seconds);
  std::fflush(stdout);
}

/// The sample must be large enough to notice the careless function.
bool notices(const Row& row) {
  loud = false;
  const bool noticed = row.careless().differ != 0;
  loud = true;
  if (!noticed) std::fprintf(stderr, "%s: the sample does not notice a careless function\n", row.name);
  return noticed;
}

}  // namespace

int main(int argc, char** argv) {
  const bool exhaustive = argc == 2 && std::strcmp(argv[1], "--exhaustive") == 0;
  if (argc > 1 && !exhaustive) {
    std::fprintf(stderr, "usage: sweep [--exhaustive]\nThe elementary functions against MPFR; a record on stdout.\n");
    return 2;
  }
  bool held = true;
  std::printf("{\"mpfr\": \"%s\", \"exhaustive\": %s, \"functions\": [", mpfr_get_version(),
              exhaustive ? "true" : "false");
  const char* separator = "\n";
  for (const Row& row : rows()) {
    std::printf("%s", separator);
    separator = ",\n";
    evaluations = 0;
    const auto start = std::chrono::steady_clock::now();
    const Tally tally = row.run(exhaustive);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    print(row, tally, took.count());
    held = held && tally.differ == 0 && notices(row);
  }
  std::printf("\n]}\n");
  return held ? 0 : 1;
}
