// SPDX-License-Identifier: Apache-2.0
// linear over arrays (spec/linear.md): float64 dots, then per output the exactness test, the certificate, or the exact
// sum. By a tensor core: the chains of mma.cpp.
#include "fp8ref/linear.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "chains.h"
#include "dots.h"
#include "fp8ref/cpu.h"
#include "fp8ref/errors.h"
#include "fp8ref/modes.h"
#include "fpenv.h"

namespace fp8ref::cpu {
namespace {

constexpr std::int64_t kWorkPerTask = 1 << 15;  // multiply-adds

/// The exponent of the lowest set bit of x, far above all others for a zero.
std::int32_t lowest_exponent(bf16 x) {
  const std::int32_t field = (x.bits >> 7) & 0xFF;
  const std::int32_t significand = (x.bits & 0x7F) | (field == 0 ? 0 : 0x80);
  // Read off the fp32 number that the bit converts to.
  const float bit = static_cast<float>(significand & -significand);
  const std::int32_t trailing = (bit_cast<std::int32_t>(bit) >> 23) - 127;
  return (significand == 0 ? 1 << 20 : trailing) + (field == 0 ? 1 : field) - 134;
}

/// Separate passes over a row that stays in the cache: each becomes vector code.
RowFacts row_facts(const bf16* row, std::int64_t k) {
  constexpr int kLanes = 8;
  std::int32_t lowest[kLanes], largest = 0;
  double squares[kLanes] = {};
  std::fill_n(lowest, kLanes, 1 << 20);
  for (std::int64_t i = 0; i < k; ++i) largest = std::max<std::int32_t>(largest, row[i].bits & 0x7FFF);
  std::int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) lowest[j] = std::min(lowest[j], lowest_exponent(row[i + j]));
    for (int j = 0; j < kLanes; ++j) {
      const double value = widen(row[i + j]);
      squares[j] += value * value;
    }
  }
  for (; i < k; ++i) {
    const double value = widen(row[i]);
    squares[0] += value * value;
    lowest[0] = std::min(lowest[0], lowest_exponent(row[i]));
  }
  double sum = 0;
  for (double square : squares) sum += square;
  // Inflated beyond what k roundings of a sum of squares can lose.
  const double norm = std::sqrt(sum) * (1 + 0x1p-40 + static_cast<double>(k) * 0x1p-52);
  return {norm, largest == 0 ? 0 : *std::min_element(lowest, lowest + kLanes), largest < 0x7F80};
}

/// What an output needs beside its dot.
struct Problem {
  const bf16 *x, *w;
  std::int64_t n, k;
  const float* bias;
  const RowFacts *x_facts, *w_facts;
  bf16* out;
};

void finish(const Problem& p, std::int64_t i, std::int64_t j, double dot) {
  const float* bias = p.bias == nullptr ? nullptr : p.bias + j;
  const Certified result = linear_certified(dot, p.x_facts[i], p.w_facts[j], p.k, bias);
  p.out[i * p.n + j] = result.proven ? result.value : linear_element(p.x + i * p.k, p.w + j * p.k, p.k, bias);
}

/// One row of x: weights are widened in registers, each used once.
void single_row(const Problem& p) {
  const Kernels& kernel = kernels();
  std::vector<double> x(static_cast<std::size_t>(p.k));
  kernel.decode_bf16(p.x, p.k, x.data());
  parallel_for(p.n, kWorkPerTask / (p.k + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t j = begin; j < end; ++j) finish(p, 0, j, kernel.dot_bf16(x.data(), p.w + j * p.k, p.k));
  });
}

}  // namespace

void linear_row_facts(const bf16* rows, std::int64_t n, std::int64_t k, RowFacts* facts) {
  parallel_for(n, kWorkPerTask / (k + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) facts[i] = row_facts(rows + i * k, k);
  });
}

void linear(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
            const RowFacts* w_facts, bf16* out) {
  if (m == 0 || n == 0) return;
  const FpEnv env;
  std::vector<RowFacts> x_facts(static_cast<std::size_t>(m)), computed;
  linear_row_facts(x, m, k, x_facts.data());
  if (w_facts == nullptr) {
    computed.resize(static_cast<std::size_t>(n));
    linear_row_facts(w, n, k, computed.data());
    w_facts = computed.data();
  }
  const Problem problem{x, w, n, k, bias, x_facts.data(), w_facts, out};
  if (m == 1) return single_row(problem);
  const DecodedRows<bf16> x_rows{x, k, kernels().decode_bf16}, w_rows{w, k, kernels().decode_bf16};
  dot_blocks(x_rows, w_rows, m, n, {0, k, k}, [&](const DotBlock& block, std::int64_t) {
    for (std::int64_t i = 0; i < block.rows; ++i) {
      for (std::int64_t j = 0; j < block.columns; ++j) {
        finish(problem, block.row + i, block.column + j, block.dots[i * kBlockColumns + j]);
      }
    }
  });
}

void linear(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
            Accumulate accumulate, bf16* out) {
  const Accumulate unit = bf16_unit(accumulate);
  if (unit != unit_of(unit)) throw OpError("linear: a promoted accumulator is no unit");
  const FpEnv env;
  const MmaArgs args{x, w, Operand::bf16, Operand::bf16, m, n, k, nullptr, unit, OutDtype::float32, nullptr};
  chain_tiles(args, [&](const ChainTile& tile) {
    float accumulators[kChainColumns] = {};
    tile.run(0, k, accumulators);
    for (std::int64_t c = 0; c < tile.columns; ++c) {
      const std::int64_t j = tile.column + c;
      out[tile.row * n + j] = linear_tail(accumulators[c], bias == nullptr ? nullptr : bias + j);
    }
  });
}

}  // namespace fp8ref::cpu
