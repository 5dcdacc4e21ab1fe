// SPDX-License-Identifier: Apache-2.0
// Exact products with E5M2 operands (spec/scaled_mm.md). A dot of E5M2 codes has too many bits for float64, so that
// codes are taken apart: those from 1 up are integers times 2^-2 below 2^18, those below 1 integers times 2^-16. The
// dots of such pieces over a block of k are exact in any order, and integers add them up.
#include <algorithm>
#include <vector>

#include "chain_pack.h"
#include "scaled_mm.h"

namespace fp8ref::cpu {
namespace {

/// All codes of E4M3, or a piece of those of E5M2: integers times 2^unit, below 2^18.
struct Piece {
  double least, most;  // magnitudes from `least` to below `most`
  int unit;
};
constexpr Piece kAllE4m3{0, 0x1p9, Fixed<e4m3>::kUnit};
constexpr Piece kPieces[2] = {{1, 0x1p16, -2}, {0, 1, Fixed<e5m2>::kUnit}};
constexpr int kTotalUnit = 2 * Fixed<e5m2>::kUnit;
constexpr double kDecoded = 0x1p-8;
static_assert(kE4m3Exponent == -8);
static_assert(kScaleBlock * (std::int64_t{1} << 36) <= std::int64_t{1} << 53);

/// The codes of one operand as pieces, block by block: the k that dots are taken over has `pairs` blocks of 128 for
/// each of the operand's, one for each pair of pieces.
struct PieceRows {
  const void* codes;
  Operand type;
  std::int64_t k;
  int pairs, divisor;  // of pair q, this operand has the piece q / divisor % its number of pieces

  int pieces() const { return type == Operand::e4m3 ? 1 : 2; }
  const Piece& piece(std::int64_t pair) const {
    return type == Operand::e4m3 ? kAllE4m3 : kPieces[pair / divisor % pieces()];
  }

  void operator()(std::int64_t row, std::int64_t first, std::int64_t n, double* x) const {
    for (std::int64_t p = first; p < first + n;) {
      const std::int64_t block = p / kScaleBlock, from = p % kScaleBlock;
      const std::int64_t count = std::min(kScaleBlock - from, first + n - p);
      part(row, block / pairs * kScaleBlock + from, count, piece(block % pairs), x + (p - first));
      p += count;
    }
  }

 private:
  void part(std::int64_t row, std::int64_t first, std::int64_t n, const Piece& piece, double* x) const {
    const std::int64_t there = std::clamp<std::int64_t>(k - first, 0, n);
    std::fill(x + there, x + n, 0.0);
    if (type == Operand::e4m3)
      return kernels().decode_e4m3(static_cast<const e4m3*>(codes) + row * k + first, there, x);
    decode_e5m2(static_cast<const e5m2*>(codes) + row * k + first, there, x);
    for (std::int64_t i = 0; i < there; ++i) {
      const double magnitude = x[i] < 0 ? -x[i] : x[i];
      x[i] = magnitude >= piece.least * kDecoded && magnitude < piece.most * kDecoded ? x[i] : 0.0;
    }
  }
};

std::vector<std::uint8_t> special_rows(const void* codes, Operand type, std::int64_t rows, std::int64_t k) {
  std::vector<std::uint8_t> flags(static_cast<std::size_t>(rows));
  with_operand(type, codes, [&](const auto* x) {
    parallel_for(rows, 8 * kWorkPerTask / (k + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        flags[static_cast<std::size_t>(i)] = row_flags(x + i * k, k) >= kInfiniteRow;
    });
  });
  return flags;
}

/// The sums of one block of outputs: exact totals, and with scales of blocks what is scaled of them.
class Totals {
 public:
  Totals(const ScaledMmArgs& args, const DotBlock& block) : args_(args), block_(block) {
    totals_ = totals_storage().get(static_cast<std::size_t>(kBlockRows * kBlockColumns));
    sums_ = sums_storage().get(static_cast<std::size_t>(kBlockRows * kBlockColumns));
  }

  void clear() {
    std::fill_n(totals_, block_.rows * kBlockColumns, Wide<2>{});
    std::fill_n(sums_, block_.rows * kBlockColumns, 0.0f);
  }

  /// Adds the dots of a pair of pieces, integers times 2^unit.
  void add(int unit) {
    const double scale = kDecodedScale / power(unit);
    for (std::int64_t i = 0; i < block_.rows; ++i) {
      for (std::int64_t j = 0; j < block_.columns; ++j) {
        const double integer = block_.dots[i * kBlockColumns + j] * scale;
        const auto magnitude = static_cast<std::uint64_t>(integer < 0 ? -integer : integer);
        totals_[i * kBlockColumns + j].add_shifted(magnitude, unit - kTotalUnit, integer < 0);
      }
    }
  }

  /// RN32 of the totals of one block of k, scaled and added; the next totals begin at 0 [MM-BLOCK-ORDERS].
  void scale(std::int64_t k_block) {
    for (std::int64_t i = 0; i < block_.rows; ++i) {
      float dots[kBlockColumns];
      round_row(i, dots);
      add_block_row(args_, block_.row + i, block_.column, block_.columns, k_block, dots, sums_ + i * kBlockColumns);
    }
    std::fill_n(totals_, block_.rows * kBlockColumns, Wide<2>{});
  }

  void finish(const std::vector<std::uint8_t>& a_special, const std::vector<std::uint8_t>& b_special) {
    for (std::int64_t i = 0; i < block_.rows; ++i) {
      const std::int64_t row = block_.row + i;
      if (args_.scales == Scales::blocks) {
        finish_block_row(args_, row, block_.column, block_.columns, sums_ + i * kBlockColumns);
      } else {
        float accumulators[kBlockColumns];
        round_row(i, accumulators);
        finish_row(args_, row, block_.column, block_.columns, accumulators);
      }
      for (std::int64_t j = block_.column; j < block_.column + block_.columns; ++j) {
        if ((a_special[static_cast<std::size_t>(row)] | b_special[static_cast<std::size_t>(j)]) == 0) continue;
        const float value = exact_element(args_, row, j);
        store_row(args_, row, j, 1, &value);
      }
    }
  }

 private:
  static double power(int exponent) { return bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52); }
  static Buffer<Wide<2>>& totals_storage() {
    thread_local Buffer<Wide<2>> storage;
    return storage;
  }
  static Buffer<float>& sums_storage() {
    thread_local Buffer<float> storage;
    return storage;
  }

  void round_row(std::int64_t i, float* results) const {
    for (std::int64_t j = 0; j < block_.columns; ++j) {
      results[j] = wide_rn32(totals_[i * kBlockColumns + j], kTotalUnit);
    }
  }

  const ScaledMmArgs& args_;
  const DotBlock& block_;
  Wide<2>* totals_;
  float* sums_;
};

}  // namespace

void decode_e5m2(const e5m2* codes, std::int64_t n, double* x) {
  for (std::int64_t i = 0; i < n; ++i) x[i] = narrow_value(codes[i]) * kDecoded;
}

float exact_element(const ScaledMmArgs& args, std::int64_t i, std::int64_t j) {
  const float* bias = args.bias == nullptr ? nullptr : args.bias + j;
  const float *a_scale = args.a_scale.of_row(i), *b_scale = args.b_scale.of_row(j);
  return with_operand(args.a_type, args.a, [&](const auto* a_rows) {
    return with_operand(args.b_type, args.b, [&](const auto* b_rows) {
      using A = std::decay_t<decltype(*a_rows)>;
      using B = std::decay_t<decltype(*b_rows)>;
      if constexpr (sizeof(A) == 1 && sizeof(B) == 1) {
        const A* a = a_rows + i * args.k;
        const B* b = b_rows + j * args.k;
        if (args.scales == Scales::blocks) {
          return scaled_mm_block_element(a, b, args.k, a_scale, b_scale, bias, args.accumulate, args.epilogue);
        }
        return scaled_mm_element(a, b, args.k, *a_scale, *b_scale, bias, args.accumulate, args.epilogue, args.split_k);
      } else {
        return 0.0f;  // no codes
      }
    });
  });
}

void exact_e5m2(const ScaledMmArgs& args) {
  const bool both = args.a_type == args.b_type;
  const int pairs = both ? 4 : 2;
  const PieceRows a{args.a, args.a_type, args.k, pairs, both ? 2 : 1}, b{args.b, args.b_type, args.k, pairs, 1};
  const std::vector<std::uint8_t> a_special = special_rows(args.a, args.a_type, args.m, args.k);
  const std::vector<std::uint8_t> b_special = special_rows(args.b, args.b_type, args.n, args.k);
  const std::int64_t blocks = (args.k + kScaleBlock - 1) / kScaleBlock;
  dot_blocks(a, b, args.m, args.n, {0, blocks * pairs * kScaleBlock, kScaleBlock},
             [&](const DotBlock& block, std::int64_t p) {
               const std::int64_t step = p / kScaleBlock, pair = step % pairs;
               Totals totals(args, block);
               if (step == 0) totals.clear();
               totals.add(a.piece(pair).unit + b.piece(pair).unit);
               if (blocks > 0 && pair == pairs - 1 && args.scales == Scales::blocks) totals.scale(step / pairs);
               if (step + 1 >= blocks * pairs) totals.finish(a_special, b_special);
             });
}

}  // namespace fp8ref::cpu
