// SPDX-License-Identifier: Apache-2.0
// The bit probes E1 to E17: operands, accumulator, and the bits that Hopper must give, written down from spec/mma.md
// and its sources, not computed. `probes --predict` shows that the model computes the same bits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "probe_model.h"

namespace probes {

/// One product: place in the chain, patterns of both factors.
struct Term {
  int k;
  std::uint32_t a, b;
};

/// One output. `bits` is the literal; it binds every unit whose numbers are those of `unit`.
struct Case {
  std::string id;
  Operand operand;
  OutDtype out;
  Accumulate unit;
  Plan plan;
  std::vector<Term> terms;
  std::uint32_t c;
  std::uint32_t bits;
};

/// The number behind every pattern of a type.
inline std::vector<double> values(Operand operand) {
  std::vector<double> found(class_of(operand) == OperandClass::fp8 ? 0x100 : 0x10000);
  for (std::uint32_t p = 0; p < found.size(); ++p) {
    const auto byte = static_cast<std::uint8_t>(p);
    const auto word = static_cast<std::uint16_t>(p);
    if (operand == Operand::e4m3) found[p] = fp8ref::widen(fp8ref::e4m3{byte});
    if (operand == Operand::e5m2) found[p] = fp8ref::widen(fp8ref::e5m2{byte});
    if (operand == Operand::bf16) found[p] = fp8ref::widen(fp8ref::bf16{word});
    if (operand == Operand::fp16) found[p] = fp8ref::widen(fp8ref::fp16{word});
  }
  return found;
}

/// The pattern of a number that the type has; anything else is a mistake in the table.
inline std::uint32_t code(Operand operand, double x) {
  static const std::vector<double> kValues[] = {values(Operand::e4m3), values(Operand::e5m2), values(Operand::bf16),
                                                values(Operand::fp16)};
  const std::vector<double>& all = kValues[static_cast<int>(operand)];
  const auto found = std::find(all.begin(), all.end(), x);
  if (found == all.end()) std::abort();
  return static_cast<std::uint32_t>(found - all.begin());
}

namespace detail {

inline constexpr std::uint32_t kPi = 0x40490FDB, kNan = 0x7FFFFFFF, kInfinity = 0x7F800000;

struct Product {
  double a, b;
};

/// Collects cases of one type of operands.
class Rows {
 public:
  Rows(std::vector<Case>& cases, Operand operand, OutDtype out, Accumulate unit)
      : cases_(cases), operand_(operand), out_(out), unit_(unit) {}

  /// Products at k = 0, 1, ...
  void add(const std::string& id, const std::vector<Product>& products, std::uint32_t c, std::uint32_t bits) {
    std::vector<Term> terms;
    for (const Product& p : products) terms.push_back(term(static_cast<int>(terms.size()), p));
    raw(id, {}, terms, c, bits);
  }
  void raw(const std::string& id, const Plan& plan, const std::vector<Term>& terms, std::uint32_t c,
           std::uint32_t bits) {
    cases_.push_back({id, operand_, out_, unit_, plan, terms, c, bits});
  }
  Term term(int k, Product p) const { return {k, code(operand_, p.a), code(operand_, p.b)}; }

 private:
  std::vector<Case>& cases_;
  Operand operand_;
  OutDtype out_;
  Accumulate unit_;
};

inline constexpr Product kPlus{64, 64}, kMinus{-64, 64};  // +-4096

/// E1 to E3 and E5 to E9: alignment, cut, result, signs.
inline void add_steps(Rows rows) {
  rows.add("E1a", {kPlus, kMinus, {0.5, 1}}, 0, 0x3F000000);
  rows.add("E1b", {kPlus, kMinus, {0.25, 1}}, 0, 0x00000000);
  rows.add("E2a", {}, kPi, 0x40490C00);
  rows.add("E2b", {kPlus, kMinus}, 0x3E800000, 0x00000000);
  rows.add("E2c", {kPlus, kMinus}, 0x3F000000, 0x3F000000);
  const std::vector<Product> small(32, {0.0625, 0.0625});
  rows.add("E3a", small, 0x42800000, 0x42800000);
  rows.add("E3b", small, 0x427F8000, 0x42800000);
  std::vector<Term> many;
  constexpr int kSteps = 520;
  for (int k = 0; k < kSteps * 32; ++k) many.push_back({k, code(Operand::e4m3, 0.0625), code(Operand::e4m3, 0.0625)});
  rows.raw("E3c", {.steps = kSteps}, many, 0, 0x42800000);
  rows.add("E5a", {kPlus, kMinus, {-0.375, 1}}, 0, 0x00000000);
  rows.add("E5b", {kPlus, kMinus, {0.375, 1}}, 0, 0x00000000);
  rows.add("E5c", {kPlus, kMinus, {-0.25, 1}}, 0, 0x00000000);
  rows.add("E6a", {kPlus, kPlus, {1.5, 1}}, 0, 0x46000400);
  rows.add("E6b", {{64, -64}, {64, -64}, {-1.5, 1}}, 0, 0xC6000400);
  rows.add("E7a", {{96, 96}, {0.5, 1}, {0.5, 1}}, 0, 0x46100400);
  rows.add("E7b", {{72, 128}, {0.5, 1}, {0.5, 1}}, 0, 0x46100000);
  rows.add("E8", {{0x1p-9, 64}, {-0x1p-9, 64}, {0x1p-7, 0x1p-7}}, 0, 0x00000000);
  std::vector<Term> zeros;
  for (int k = 0; k < 32; ++k) zeros.push_back({k, 0x80, 0x38});  // -0 * 1
  rows.raw("E9a", {}, zeros, 0x80000000, 0x00000000);
  rows.add("E9b", {{1, 1}, {-1, 1}}, 0, 0x00000000);
}

/// E4: +4096 and -4096 at two places, 0.25 at a third. Any grouping of the 32 products leaves the quarter somewhere.
inline void add_grouping(Rows rows) {
  const auto add = [&rows](const char* id, int i, int j, int k) {
    rows.raw(id, {}, {rows.term(i, kPlus), rows.term(j, kMinus), rows.term(k, {0.5, 0.5})}, 0, 0x00000000);
  };
  for (int k = 0; k < 32; ++k) {
    if (k > 1) add("E4a", 0, 1, k);
    if (k != 16 && k != 17) add("E4b", 16, 17, k);
  }
  for (int i = 0; i < 32; ++i) {
    for (int j = 0; j < 32; ++j) {
      for (int k = 0; k < 32; ++k) {
        if (i != j && j != k && k != i) add("E4c", i, j, k);
      }
    }
  }
}

/// E10 to E13: special values, accumulators without products, scale-d = 0, instructions one after the other.
inline void add_registers_and_specials(std::vector<Case>& cases, Rows rows) {
  constexpr std::uint32_t kOne = 0x38;
  rows.raw("E10a", {}, {{0, 0x7F, kOne}}, 0, kNan);
  Rows e5m2(cases, Operand::e5m2, OutDtype::float32, Accumulate::sm90_wgmma);
  constexpr std::uint32_t kInf5 = 0x7C, kMinusInf5 = 0xFC, kOne5 = 0x3C;
  e5m2.raw("E10b", {}, {{0, kInf5, 0}}, 0, kNan);
  e5m2.raw("E10c", {}, {{0, kInf5, kOne5}, {1, kMinusInf5, kOne5}}, 0, kNan);
  e5m2.raw("E10d", {}, {{0, kInf5, kOne5}}, 0, kInfinity);
  constexpr std::uint32_t kBefore[] = {0x7F7FFFFF, 0x00000001, 0x000003FF, 0x00000400, 0x000007FF, 0x007FFFFF,
                                       0x00800001, 0x7F800000, 0xFF800000, 0x7FC00001, 0xFFFFFFFF};
  constexpr std::uint32_t kAfter[] = {0x7F7FFC00, 0x00000000, 0x00000000, 0x00000400, 0x00000400, 0x007FFC00,
                                      0x00800000, 0x7F800000, 0xFF800000, 0x7FFFFFFF, 0x7FFFFFFF};
  for (int i = 0; i < 11; ++i) rows.add("E11" + std::string(1, static_cast<char>('a' + i)), {}, kBefore[i], kAfter[i]);
  const std::vector<Term> large = {rows.term(0, kPlus), rows.term(1, kPlus), rows.term(2, {1.5, 1})};
  rows.raw("E12a", {.start = Start::fresh}, large, kNan, 0x46000400);
  rows.raw("E12b", {.start = Start::fresh}, large, 0x7149F2CA, 0x46000400);  // 1e30
  std::vector<Term> two = large;
  two.push_back(rows.term(32, {0.5, 1}));
  rows.raw("E13", {.steps = 2}, two, 0, 0x46000400);
  rows.raw("E13 waited", {.steps = 2, .group = 1}, two, 0, 0x46000400);
}

/// E14 and E15: 16-bit operands.
inline void add_wide(std::vector<Case>& cases) {
  Rows rows(cases, Operand::bf16, OutDtype::float32, Accumulate::sm90_wgmma);
  rows.add("E14a", {{1, 1}, {-1, 1}, {0x1p-25, 1}}, 0, 0x33000000);
  rows.add("E14b", {{1, 1}, {-1, 1}, {0x1p-26, 1}}, 0, 0x00000000);
  rows.add("E14c", {{1, 1}, {-1, 1}}, 0x32800000, 0x00000000);
  rows.add("E14d", {{1, 1}, {1.5, 0x1p-24}}, 0, 0x3F800000);
  rows.add("E14d negated", {{-1, 1}, {-1.5, 0x1p-24}}, 0, 0xBF800000);
  rows.add("E14e", {{1.5, 1.5}, {1.75, 0x1p-23}, {0x1p-25, 1}}, 0, 0x40100001);
  rows.add("E14e normal", {{2.25, 1}, {1.75, 0x1p-23}, {0x1p-25, 1}}, 0, 0x40100000);
  rows.add("E14f 32", {{0x1p-23, 0x1p-126}, {-0x1p-32, 0x1p-126}}, 0, 0x00000000);
  rows.add("E14f 33", {{0x1p-23, 0x1p-126}, {-0x1p-33, 0x1p-126}}, 0, 0x00000001);
  for (int k = 2; k < 16; ++k) {
    rows.raw("E14g", {}, {rows.term(0, {1, 1}), rows.term(1, {-1, 1}), rows.term(k, {0x1p-26, 1})}, 0, 0x00000000);
  }
  Rows half(cases, Operand::fp16, OutDtype::float16, Accumulate::sm90_wgmma);
  half.add("E14h 24", {{0x1p-12, 0x1p-13}, {0x1p-23, 0x1p-24}}, 0, 0x0000);
  half.add("E14h 22", {{0x1p-12, 0x1p-13}, {0x1p-22, 0x1p-24}}, 0, 0x0001);
  rows.add("E15a", {{0x1p127, 1}, {0x1p127, 1}}, 0, kInfinity);
  rows.add("E15b", {{0x1p127, 0x1p127}, {-0x1p127, 0x1p127}}, 0x3F800000, 0x00000000);
  rows.add("E15c", {{0x1p103, 1}}, 0x7F7FFFFF, 0x7F7FFFFF);
  rows.add("E15d", {{0x1p104, 1}}, 0x7F7FFFFF, kInfinity);
}

/// E16: the fp16 rewrite of mma.sync, which the numbers of wgmma do not describe.
inline void add_rewrite(std::vector<Case>& cases) {
  Rows rows(cases, Operand::e4m3, OutDtype::float32, Accumulate::sm90_mma_sync);
  rows.add("E16a", {}, kPi, kPi);
  for (int k = 2; k < 32; ++k) {
    const Product small{0.0625, 0.0625};
    rows.raw("E16b", {}, {rows.term(0, {256, 256}), rows.term(1, small), rows.term(k, small)}, 0,
             k % 4 < 2 ? 0x47800001 : 0x47800000);
  }
}

/// E17: K = 512; a half is lost behind 8192 unless a promotion lies between them.
inline void add_chains(Rows rows) {
  for (int k = 2; k < 512; ++k) {
    const std::vector<Term> terms = {rows.term(0, kPlus), rows.term(1, kPlus), rows.term(k, {0.5, 1})};
    rows.raw("E17 fast", {.steps = 16}, terms, 0, 0x46000000);
    rows.raw("E17 promoted", {.steps = 16, .group = 4, .sum = Sum::promoted}, terms, 0,
             k >= 128 ? 0x46000200 : 0x46000000);
  }
}

}  // namespace detail

/// All of them, those of one id after each other.
inline std::vector<Case> table() {
  std::vector<Case> cases;
  const detail::Rows rows(cases, Operand::e4m3, OutDtype::float32, Accumulate::sm90_wgmma);
  detail::add_steps(rows);
  detail::add_grouping(rows);
  detail::add_registers_and_specials(cases, rows);
  detail::add_wide(cases);
  detail::add_rewrite(cases);
  detail::add_chains(rows);
  return cases;
}

}  // namespace probes
