// SPDX-License-Identifier: Apache-2.0
// Random tiles: normal numbers, any codes, cancelling pairs, any accumulator, any bits at all; and an integer product
// whose result shows whether operands and results lie where they should.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "fp8ref/e4m3.h"
#include "probe_batch.h"

namespace probes {

/// Families (a) to (d) of the differential tests; any_bits has NaN and infinities, chain has K = 512.
enum class Family { normal, codes, cancelling, accumulator, any_bits, chain };
inline constexpr int kFamilies = 6;
inline const char* name(Family family) {
  constexpr const char* kNames[] = {"normal", "codes", "cancelling", "accumulator", "any_bits", "chain"};
  return kNames[static_cast<int>(family)];
}

namespace detail {

/// SplitMix64 (Steele, Lea and Flood 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  int below(int n) { return static_cast<int>(bits() % static_cast<std::uint64_t>(n)); }
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  double normal() {
    const double radius = std::sqrt(-2 * std::log(uniform() + 0x1p-54));
    return radius * std::cos(6.283185307179586 * uniform());
  }

 private:
  std::uint64_t state_;
};

inline std::uint32_t nearest(Operand operand, double x) {
  const float value = static_cast<float>(x);
  switch (operand) {
    case Operand::e4m3:
      return fp8ref::encode(value, fp8ref::Overflow::saturate).bits;
    case Operand::e5m2:
      return static_cast<std::uint32_t>(fp8ref::rn16(value).bits >> 8);
    case Operand::bf16:
      return fp8ref::rnbf(value).bits;
    case Operand::fp16:
      return fp8ref::rn16(value).bits;
  }
  return 0;
}

inline bool finite(Operand operand, std::uint32_t pattern) {
  switch (operand) {
    case Operand::e4m3:
      return (pattern & 0x7F) != 0x7F;
    case Operand::e5m2:
      return (pattern & 0x7C) != 0x7C;
    case Operand::bf16:
      return (pattern & 0x7F80) != 0x7F80;
    case Operand::fp16:
      return (pattern & 0x7C00) != 0x7C00;
  }
  return false;
}

inline int size_of(Operand operand) { return class_of(operand) == OperandClass::fp8 ? 1 : 2; }

inline std::uint32_t operand(Random& random, Operand type, Family family) {
  if (family == Family::normal || family == Family::chain) return nearest(type, random.normal());
  const std::uint32_t mask = size_of(type) == 1 ? 0xFF : 0xFFFF;
  std::uint32_t pattern = static_cast<std::uint32_t>(random.bits()) & mask;
  while (family != Family::any_bits && !finite(type, pattern))
    pattern = static_cast<std::uint32_t>(random.bits()) & mask;
  return pattern;
}

/// An accumulator: any bits, or a number of about the size of the products or of what is left of them.
inline std::uint32_t accumulator(Random& random, OutDtype out, Family family, int tile) {
  const bool any = family == Family::any_bits || (family == Family::accumulator && tile % 2 == 0);
  if (any) return static_cast<std::uint32_t>(random.bits()) & (out == OutDtype::float16 ? 0xFFFF : 0xFFFFFFFF);
  if (family == Family::chain) return 0;
  const bool near = family == Family::normal;
  const double x = std::ldexp(random.normal(), near ? 3 : random.below(34) - 16);
  return out == OutDtype::float16 ? fp8ref::rn16(x).bits : fp8ref::pattern(fp8ref::rn32(x));
}

inline void fill(Random& random, Operand type, Family family, std::uint8_t* row) {
  const int size = size_of(type);
  for (int k = 0; k < kRowBytes / size; ++k) {
    const std::uint32_t pattern = operand(random, type, family);
    std::memcpy(row + k * size, &pattern, static_cast<std::size_t>(size));
  }
}

/// Every second product becomes the opposite of another; afterwards one factor of the row changes in its last bit.
inline void cancel(Random& random, Operand type, const int* order, bool left, std::uint8_t* row) {
  const int size = size_of(type), count = kRowBytes / size;
  for (int k = 0; k + 1 < count; k += 2) {
    std::memcpy(row + order[k + 1] * size, row + order[k] * size, static_cast<std::size_t>(size));
    if (left) row[order[k + 1] * size + size - 1] ^= 0x80;
  }
  const int changed = random.below(count) * size;
  if (left && finite(type, row[changed] ^ 1u)) row[changed] ^= 1;
}

}  // namespace detail

/// Random tiles, the same in every run.
inline Batch random_batch(const Instruction& instruction, Family family, int tiles) {
  const Plan plan{.steps = family == Family::chain ? 16 : 1};
  Batch batch(instruction, plan, tiles);
  in_parallel(tiles, [&](int tile) {
    detail::Random random(static_cast<std::uint64_t>(tile) * kFamilies + static_cast<std::uint64_t>(family));
    const int count = kRowBytes / detail::size_of(instruction.a);
    int order[kRowBytes];
    for (int k = 0; k < count; ++k) order[k] = k;
    for (int k = count - 1; k > 0; --k) std::swap(order[k], order[random.below(k + 1)]);
    for (int step = 0; step < plan.steps; ++step) {
      for (int row = 0; row < kRows + kColumns; ++row) {
        const bool left = row < kRows;
        std::uint8_t* bytes = left ? batch.a_row(tile, step, row) : batch.b_row(tile, step, row - kRows);
        const Operand type = left ? instruction.a : instruction.b;
        detail::fill(random, type, family, bytes);
        if (family == Family::cancelling) detail::cancel(random, type, order, left, bytes);
      }
    }
    for (int i = 0; i < kOutputs; ++i) {
      batch.c[static_cast<std::size_t>(tile) * kOutputs + i] =
          detail::accumulator(random, instruction.out, family, tile);
    }
  });
  return batch;
}

/// Small integers, with every product, sum and accumulator far below what is cut, and their matrix product.
struct IntegerProduct {
  Batch batch;
  std::vector<std::uint32_t> results;
};
inline IntegerProduct integer_product(const Instruction& instruction) {
  IntegerProduct made{Batch(instruction, Plan{}, 1), std::vector<std::uint32_t>(kOutputs)};
  const int size_a = detail::size_of(instruction.a), size_b = detail::size_of(instruction.b);
  const int depth = kRowBytes / size_a;
  const auto left = [](int row, int k) { return (row * 7 + k * 3 + row * k) % 5 - 2; };
  const auto right = [](int column, int k) { return (column * 5 + k * 2 + column * k / 3) % 7 - 3; };
  const auto register_of = [&](int x) {
    return instruction.out == OutDtype::float16 ? std::uint32_t{fp8ref::rn16(static_cast<double>(x)).bits}
                                                : fp8ref::pattern(static_cast<float>(x));
  };
  for (int k = 0; k < depth; ++k) {
    for (int row = 0; row < kRows; ++row) {
      const std::uint32_t pattern = code(instruction.a, left(row, k));
      std::memcpy(made.batch.a_row(0, 0, row) + k * size_a, &pattern, static_cast<std::size_t>(size_a));
    }
    for (int column = 0; column < kColumns; ++column) {
      const std::uint32_t pattern = code(instruction.b, right(column, k));
      std::memcpy(made.batch.b_row(0, 0, column) + k * size_b, &pattern, static_cast<std::size_t>(size_b));
    }
  }
  for (int row = 0; row < kRows; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      int sum = row * kColumns + column;
      made.batch.c[static_cast<std::size_t>(sum)] = register_of(sum);
      for (int k = 0; k < depth; ++k) sum += left(row, k) * right(column, k);
      made.results[static_cast<std::size_t>(row) * kColumns + column] = register_of(sum);
    }
  }
  return made;
}

}  // namespace probes
