// SPDX-License-Identifier: Apache-2.0
// Float64 dot products of all rows of a with all rows of b, by blocks, for operands decoded as they are needed.
// Internal.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels.h"
#include "parallel.h"

namespace fp8ref::cpu {

/// A block of dot products: dots[(i - row) * kBlockColumns + (j - column)] for `rows` x `columns` of them.
struct DotBlock {
  std::int64_t row, rows, column, columns;
  double* dots;
};

inline constexpr std::int64_t kBlockRows = 128;    // of a
inline constexpr std::int64_t kBlockColumns = 96;  // rows of b: decoded once per block, they stay in the L2 cache
inline constexpr std::int64_t kBlockDepth = 384;   // of k: a tile's rows of a and b stay in the L1 cache
static_assert(kBlockRows % kTileRows == 0 && kBlockColumns % kTileColumns == 0 && kBlockDepth % kPadding == 0);

inline std::int64_t round_up(std::int64_t n, std::int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// The rows of an operand: decode(row, first, n, x) writes elements [first, first + n) of one row.
template <class T>
struct DecodedRows {
  const T* data;
  std::int64_t k;
  void (*decode)(const T*, std::int64_t, double*);

  void operator()(std::int64_t row, std::int64_t first, std::int64_t n, double* x) const {
    decode(data + row * k + first, n, x);
  }
};

/// Decodes rows [row, row + rows) x [first, first + depth) into `out` with row stride `stride`; what lies between depth
/// and the next multiple of kPadding becomes 0, and so do the rows up to the next multiple of `tile`.
template <class Decode>
void decode_block(const Decode& decode, std::int64_t row, std::int64_t rows, std::int64_t first, std::int64_t depth,
                  std::int64_t tile, double* out, std::int64_t stride) {
  const std::int64_t padded = round_up(depth, kPadding);
  for (std::int64_t i = 0; i < rows; ++i) {
    decode(row + i, first, depth, out + i * stride);
    std::fill(out + i * stride + depth, out + i * stride + padded, 0.0);
  }
  for (std::int64_t i = rows; i < round_up(rows, tile); ++i) std::fill_n(out + i * stride, padded, 0.0);
}

/// The dots of one block over [first, first + depth) of k, added to `dots`. `a` holds decoded rows (stride lda,
/// padded).
template <class Decode>
void add_block(const double* a, std::int64_t lda, std::int64_t rows, const Decode& decode, std::int64_t column,
               std::int64_t columns, std::int64_t first, std::int64_t depth, double* dots) {
  thread_local Buffer<double> storage;
  double* panel = storage.get(static_cast<std::size_t>(kBlockColumns * kBlockDepth));
  const Kernels& kernel = kernels();
  for (std::int64_t p = first; p < first + depth; p += kBlockDepth) {
    const std::int64_t part = std::min(kBlockDepth, first + depth - p);
    decode_block(decode, column, columns, p, part, kTileColumns, panel, kBlockDepth);
    for (std::int64_t i = 0; i < rows; i += kTileRows) {
      for (std::int64_t j = 0; j < columns; j += kTileColumns) {
        kernel.tile(a + i * lda + (p - first), lda, panel + j * kBlockDepth, kBlockDepth, round_up(part, kPadding),
                    dots + i * kBlockColumns + j, kBlockColumns);
      }
    }
  }
}

/// What of k the dots are over: [first, first + depth), at once, or in steps with a visit after each.
struct DotRange {
  std::int64_t first, depth, step;  // a step is a multiple of kPadding unless it is the whole depth
};

/// Calls visit(block, p) for blocks that cover (m, n), with the dots over the step of k that begins at p, in the order
/// of the steps; the blocks in parallel.
template <class DecodeA, class DecodeB, class Visit>
void dot_blocks(const DecodeA& a, const DecodeB& b, std::int64_t m, std::int64_t n, const DotRange& range,
                const Visit& visit) {
  constexpr std::int64_t kStorage = std::int64_t{1} << 22;  // doubles of decoded a held at once
  const std::int64_t lda = round_up(range.depth, 8);
  const std::int64_t group = std::max(kBlockRows, kStorage / (lda + 1) / kBlockRows * kBlockRows);
  const std::int64_t column_blocks = (n + kBlockColumns - 1) / kBlockColumns;
  Buffer<double> decoded;
  for (std::int64_t top = 0; top < m; top += group) {
    const std::int64_t rows = std::min(group, m - top);
    double* panel = decoded.get(static_cast<std::size_t>(round_up(rows, kTileRows) * lda));
    parallel_for(round_up(rows, kTileRows) / kTileRows, 4, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t from = begin * kTileRows, to = std::min(rows, end * kTileRows);
      decode_block(a, top + from, to - from, range.first, range.depth, kTileRows, panel + from * lda, lda);
    });
    const std::int64_t row_blocks = (rows + kBlockRows - 1) / kBlockRows;
    parallel_for(row_blocks * column_blocks, 1, [&](std::int64_t begin, std::int64_t end) {
      thread_local Buffer<double> storage;
      double* dots = storage.get(static_cast<std::size_t>(kBlockRows * kBlockColumns));
      for (std::int64_t block = begin; block < end; ++block) {
        const std::int64_t i = block % row_blocks * kBlockRows, j = block / row_blocks * kBlockColumns;
        const DotBlock result{top + i, std::min(kBlockRows, rows - i), j, std::min(kBlockColumns, n - j), dots};
        std::int64_t p = 0;
        do {
          const std::int64_t depth = std::min(range.step, range.depth - p);
          std::fill_n(dots, round_up(result.rows, kTileRows) * kBlockColumns, 0.0);
          add_block(panel + i * lda + p, lda, result.rows, b, j, result.columns, range.first + p, depth, dots);
          visit(result, range.first + p);
          p += range.step;
        } while (p < range.depth);
      }
    });
  }
}

}  // namespace fp8ref::cpu
