// SPDX-License-Identifier: Apache-2.0
// scaled_mm with a scale for every 128 elements of k (spec/scaled_mm.md). The exact sum is certified: float64 dots of
// the scaled operands with a bound of their error; where both ends of the interval do not give the same output, the
// exact dots of the blocks are summed in wide integers. [ROUND-CERTIFY]
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "chain_pack.h"
#include "scaled_mm.h"

namespace fp8ref::cpu {
namespace {

/// What the certificate needs of a row with its scales.
struct ScaledRow {
  double norm;  // an upper bound of the Euclidean norm of the scaled row
  bool finite;  // all codes and scales are finite numbers
};

/// The codes of one operand with the scales of their blocks.
struct ScaledCodes {
  const void* codes;
  Operand type;
  std::int64_t k;
  ScaleView scales;

  void decode(std::int64_t row, std::int64_t first, std::int64_t n, double* x) const {
    if (type == Operand::e4m3) return kernels().decode_e4m3(static_cast<const e4m3*>(codes) + row * k + first, n, x);
    decode_e5m2(static_cast<const e5m2*>(codes) + row * k + first, n, x);
  }

  /// A row's values times their scales: at most 4 bits times 24, so exact. A scale that is no finite number counts as
  /// 0.
  void operator()(std::int64_t row, std::int64_t first, std::int64_t n, double* x) const {
    for (std::int64_t p = first; p < first + n;) {
      const std::int64_t block = p / kScaleBlock, count = std::min((block + 1) * kScaleBlock, first + n) - p;
      const double scale = finite_scale(row, block);
      double* part = x + (p - first);
      decode(row, p, count, part);
      for (std::int64_t i = 0; i < count; ++i) part[i] *= scale;
      p += count;
    }
  }

  double finite_scale(std::int64_t row, std::int64_t block) const {
    const float scale = scales.of_row(row)[block];
    return scale < INFINITY ? static_cast<double>(scale) : 0.0;
  }

  /// The sum of the squares of decoded codes.
  double block_square(std::int64_t row, std::int64_t first, std::int64_t n) const {
    double x[kScaleBlock], sum = 0;
    decode(row, first, n, x);
    if (type == Operand::e4m3) return kernels().dot_e4m3(x, static_cast<const e4m3*>(codes) + row * k + first, n);
    for (std::int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
    return sum;
  }

  ScaledRow facts(std::int64_t row) const {
    double squares = 0;
    bool finite = with_operand(type, codes, [&](const auto* x) { return row_flags(x + row * k, k) < kInfiniteRow; });
    for (std::int64_t p = 0; p < k; p += kScaleBlock) {
      const std::int64_t count = std::min<std::int64_t>(kScaleBlock, k - p);
      const double scale = finite_scale(row, p / kScaleBlock);
      finite = finite && scales.of_row(row)[p / kScaleBlock] < INFINITY;
      squares += block_square(row, p, count) * (scale * scale);
    }
    // Inflated beyond what the roundings of a sum of positive terms can lose.
    return {std::sqrt(squares) * (1 + 0x1p-40 + static_cast<double>(k) * 0x1p-52), finite};
  }

  std::vector<ScaledRow> all_facts(std::int64_t rows) const {
    std::vector<ScaledRow> result(static_cast<std::size_t>(rows));
    parallel_for(rows, kWorkPerTask / (k + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) result[static_cast<std::size_t>(i)] = facts(i);
    });
    return result;
  }
};

/// The exact dot of one block, times 1 / kDecodedScale, from decoded codes of a.
double decoded_dot(const double* a, const e4m3* b, std::int64_t count) { return kernels().dot_e4m3(a, b, count); }

/// One output in fp32, exactly; special values too.
float settle(const ScaledMmArgs& args, std::int64_t i, std::int64_t j) {
  if (has_e5m2(args)) return exact_element(args, i, j);
  BlockSum sum;
  double x[kScaleBlock];
  for (std::int64_t p = 0; p < args.k; p += kScaleBlock) {
    const std::int64_t count = std::min<std::int64_t>(kScaleBlock, args.k - p);
    const e4m3 *a = a_codes(args) + i * args.k + p, *b = b_codes(args) + j * args.k + p;
    kernels().decode_e4m3(a, count, x);
    const bool nan = kernels().has_nan(a, count) || kernels().has_nan(b, count);
    const double dot = nan ? NAN : decoded_dot(x, b, count) * kDecodedScale;
    sum.add(args.a_scale.of_row(i)[p / kScaleBlock], args.b_scale.of_row(j)[p / kScaleBlock], dot);
  }
  if (args.bias != nullptr) sum.add(args.bias[j]);
  return sum.rn32();
}

std::size_t size_of(OutDtype type) {
  switch (type) {
    case OutDtype::float32:
      return 4;
    case OutDtype::bfloat16:
    case OutDtype::float16:
      return 2;
    case OutDtype::float8_e4m3fn:
      return 1;
  }
  return 0;
}

/// Outputs of row i, columns j and on, for sums within `errors` of the exact ones; an infinite error says nothing about
/// the sum. Every later step is monotone but for an overflow to NaN, so ends of the same sign that give the same output
/// give that of the exact sum.
void finish_certified(const ScaledMmArgs& args, std::int64_t i, std::int64_t j, std::int64_t columns,
                      const double* sums, const double* errors) {
  float low[kBlockColumns], high[kBlockColumns];
  bool open[kBlockColumns];
  for (std::int64_t c = 0; c < columns; ++c) {
    const double bias = args.bias == nullptr ? 0 : static_cast<double>(args.bias[j + c]);
    open[c] = !(errors[c] < INFINITY && std::fabs(bias) < INFINITY);
    const double below = open[c] ? 0.0 : sums[c] - errors[c], above = open[c] ? 0.0 : sums[c] + errors[c];
    low[c] = args.bias == nullptr || open[c] ? rn32(below) : rn32_sum(below, bias);
    high[c] = args.bias == nullptr || open[c] ? rn32(above) : rn32_sum(above, bias);
    open[c] = open[c] || std::signbit(low[c]) != std::signbit(high[c]);
  }
  alignas(4) unsigned char other[kBlockColumns * sizeof(float)];
  store_row(args, i, j, columns, low);
  store(high, columns, args.out_dtype, other, 0, args.out_scale, args.overflow);
  const std::size_t size = size_of(args.out_dtype);
  const auto* out = static_cast<const unsigned char*>(args.out) + static_cast<std::size_t>(i * args.n + j) * size;
  for (std::int64_t c = 0; c < columns; ++c) {
    const std::size_t at = static_cast<std::size_t>(c) * size;
    if (!open[c] && std::memcmp(out + at, other + at, size) == 0) continue;
    const float exact = settle(args, i, j + c);
    store_row(args, i, j + c, 1, &exact);
  }
}

/// One row of a: exact dots of the blocks, each code of b used once.
void single_row(const ScaledMmArgs& args) {
  constexpr std::int64_t kColumns = 64;
  static_assert(kColumns <= kBlockColumns);
  const Kernels& kernel = kernels();
  const std::int64_t blocks = (args.k + kScaleBlock - 1) / kScaleBlock;
  const double unit = static_cast<double>(blocks + 4) * 0x1p-52;  // beyond what 2 roundings for each block can lose
  std::vector<double> x(static_cast<std::size_t>(args.k));
  kernel.decode_e4m3(a_codes(args), args.k, x.data());
  const bool a_finite = !kernel.has_nan(a_codes(args), args.k);
  const float* a_scale = args.a_scale.of_row(0);
  parallel_for(args.n, kWorkPerTask / (args.k + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    double sums[kColumns], errors[kColumns];
    for (std::int64_t j = begin; j < end; j += kColumns) {
      const std::int64_t columns = std::min(kColumns, end - j);
      for (std::int64_t c = 0; c < columns; ++c) {
        const e4m3* row = b_codes(args) + (j + c) * args.k;
        const float* b_scale = args.b_scale.of_row(j + c);
        double sum = 0, magnitude = 0;
        for (std::int64_t p = 0; p < args.k; p += kScaleBlock) {
          const double scale = static_cast<double>(a_scale[p / kScaleBlock]) * b_scale[p / kScaleBlock] * kDecodedScale;
          const double term =
              scale * kernel.dot_e4m3(x.data() + p, row + p, std::min<std::int64_t>(kScaleBlock, args.k - p));
          sum += term;
          magnitude += std::fabs(term);
        }
        const bool known = magnitude < INFINITY && a_finite && !kernel.has_nan(row, args.k);
        sums[c] = sum;
        errors[c] = known ? magnitude * unit : INFINITY;
      }
      finish_certified(args, 0, j, columns, sums, errors);
    }
  });
}

}  // namespace

void exact_blocks(const ScaledMmArgs& args) {
  if (args.m == 1 && !has_e5m2(args)) return single_row(args);
  const ScaledCodes a{args.a, args.a_type, args.k, args.a_scale}, b{args.b, args.b_type, args.k, args.b_scale};
  const std::vector<ScaledRow> a_facts = a.all_facts(args.m), b_facts = b.all_facts(args.n);
  // Fewer than k + 4 roundings on the way of any product into its sum, and room for those of the interval's ends.
  const double unit = static_cast<double>(args.k + 8) * 0x1p-52;
  dot_blocks(a, b, args.m, args.n, {0, args.k, args.k}, [&](const DotBlock& block, auto) {
    double sums[kBlockColumns], errors[kBlockColumns];
    for (std::int64_t i = 0; i < block.rows; ++i) {
      const ScaledRow& row = a_facts[static_cast<std::size_t>(block.row + i)];
      for (std::int64_t j = 0; j < block.columns; ++j) {
        const ScaledRow& column = b_facts[static_cast<std::size_t>(block.column + j)];
        sums[j] = block.dots[i * kBlockColumns + j] * kDecodedScale + 0.0;
        errors[j] = row.finite && column.finite ? row.norm * column.norm * unit * kDecodedScale : INFINITY;
      }
      finish_certified(args, block.row + i, block.column, block.columns, sums, errors);
    }
  });
}

void exact_dots_of_blocks(const ScaledMmArgs& args) {
  const std::vector<std::uint8_t> a_nan = nan_rows(a_codes(args), args.m, args.k);
  const std::vector<std::uint8_t> b_nan = nan_rows(b_codes(args), args.n, args.k);
  dot_blocks(a_rows(args), b_rows(args), args.m, args.n, {0, args.k, kScaleBlock},
             [&](const DotBlock& block, std::int64_t p) {
               thread_local Buffer<float> storage;
               float* sums = storage.get(static_cast<std::size_t>(kBlockRows * kBlockColumns));
               if (p == 0) std::fill_n(sums, block.rows * kBlockColumns, 0.0f);
               for (std::int64_t i = 0; i < block.rows; ++i) {
                 float dots[kBlockColumns];
                 float* row = sums + i * kBlockColumns;
                 for (std::int64_t j = 0; j < block.columns; ++j) {
                   dots[j] = static_cast<float>(block.dots[i * kBlockColumns + j] * kDecodedScale + 0.0);
                 }
                 if (args.k > 0)
                   add_block_row(args, block.row + i, block.column, block.columns, p / kScaleBlock, dots, row);
                 if (p + kScaleBlock < args.k) continue;
                 for (std::int64_t j = 0; j < block.columns; ++j) {
                   const bool nan = a_nan[static_cast<std::size_t>(block.row + i)] != 0 ||
                                    b_nan[static_cast<std::size_t>(block.column + j)] != 0;
                   if (nan) row[j] = bit_cast<float>(kNan32);
                 }
                 finish_block_row(args, block.row + i, block.column, block.columns, row);
               }
             });
}

}  // namespace fp8ref::cpu
