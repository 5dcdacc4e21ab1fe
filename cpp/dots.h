// SPDX-License-Identifier: Apache-2.0
// Float64 dot products of all rows of a with all rows of b, by blocks, for operands decoded as they are needed.
// Internal.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "fp8ref/cpu.h"
#include "kernels.h"
#include "parallel.h"

namespace fp8ref::cpu {

/// A block of dot products: dots[(i - row) * kBlockColumns + (j - column)] for `rows` x `columns` of them.
struct DotBlock {
  std::int64_t row, rows, column, columns;
  double* dots;
};

inline constexpr std::int64_t kBlockRows = 256;    // of a, at most: half of it where there are few blocks
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

/// Doubles of the next tile's rows of a that each tile asks for.
inline constexpr std::int64_t kPrefetched = kTileRows * kBlockDepth / (kBlockColumns / kTileColumns);

inline void prefetch([[maybe_unused]] const double* x, [[maybe_unused]] std::int64_t n) {
#if defined(__GNUC__) || defined(__clang__)
  for (std::int64_t i = 0; i < n; i += 8) __builtin_prefetch(x + i);
#endif
}

/// Decoded rows of a, cut into pieces of kBlockDepth of k: a tile's rows of one piece are neighbours, so that they
/// spread over all of the L1 cache whatever k is.
struct Panel {
  double* data;
  std::int64_t rows;  // a multiple of kTileRows

  /// Row i from k = p on, up to the end of its piece; rows are kBlockDepth apart.
  double* at(std::int64_t i, std::int64_t p) const {
    return data + (p / kBlockDepth * rows + i) * kBlockDepth + p % kBlockDepth;
  }
};

/// The dots of rows [row, row + rows) of the panel with one block's rows of b over [first, first + depth) of the
/// panel's k, added to `dots`; b's k is `offset` further on.
template <class Decode>
void add_block(const Panel& a, std::int64_t row, std::int64_t rows, const Decode& decode, std::int64_t column,
               std::int64_t columns, std::int64_t first, std::int64_t depth, std::int64_t offset, double* dots) {
  thread_local Buffer<double> storage;
  double* panel = storage.get(static_cast<std::size_t>(kBlockColumns * kBlockDepth));
  const Kernels& kernel = kernels();
  for (std::int64_t p = first; p < first + depth; p += kBlockDepth) {
    const std::int64_t part = std::min(kBlockDepth, first + depth - p);
    decode_block(decode, column, columns, offset + p, part, kTileColumns, panel, kBlockDepth);
    for (std::int64_t i = 0; i < rows; i += kTileRows) {
      for (std::int64_t j = 0; j < columns; j += kTileColumns) {
        // The rows of the next tile, a part for each tile of these rows: b's panel has the L2 cache to itself.
        prefetch(a.at(row + i + kTileRows, p) + j / kTileColumns * kPrefetched, kPrefetched);
        kernel.tile(a.at(row + i, p), kBlockDepth, panel + j * kBlockDepth, kBlockDepth, round_up(part, kPadding),
                    dots + i * kBlockColumns + j, kBlockColumns);
      }
    }
  }
}

/// What of k the dots are over: [first, first + depth), at once, or in steps with a visit after each.
struct DotRange {
  std::int64_t first, depth, step;  // step: the whole depth, or a divisor of kBlockDepth
};

/// Calls visit(block, p) for blocks that cover (m, n), with the dots over the step of k that begins at p, in the order
/// of the steps; the blocks in parallel.
template <class DecodeA, class DecodeB, class Visit>
void dot_blocks(const DecodeA& a, const DecodeB& b, std::int64_t m, std::int64_t n, const DotRange& range,
                const Visit& visit) {
  constexpr std::int64_t kStorage = std::int64_t{1} << 22;  // doubles of decoded a held at once
  const std::int64_t padded = round_up(range.depth, kBlockDepth);
  const std::int64_t group = std::max(kBlockRows, kStorage / (padded + 1) / kBlockRows * kBlockRows);
  const std::int64_t column_blocks = (n + kBlockColumns - 1) / kBlockColumns;
  Buffer<double> decoded;
  for (std::int64_t top = 0; top < m; top += group) {
    const std::int64_t rows = std::min(group, m - top);
    const std::int64_t tile_rows = round_up(rows, kTileRows);
    const Panel panel{decoded.get(static_cast<std::size_t>(tile_rows * padded)), tile_rows};
    parallel_for(tile_rows / kTileRows, 4, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t from = begin * kTileRows, to = std::min(rows, end * kTileRows);
      for (std::int64_t p = 0; p < range.depth; p += kBlockDepth) {
        decode_block(a, top + from, to - from, range.first + p, std::min(kBlockDepth, range.depth - p), kTileRows,
                     panel.at(from, p), kBlockDepth);
      }
    });
    const bool many = (rows + kBlockRows - 1) / kBlockRows * column_blocks >= 4 * threads();
    const std::int64_t block_rows = many ? kBlockRows : kBlockRows / 2,
                       row_blocks = (rows + block_rows - 1) / block_rows;
    parallel_for(row_blocks * column_blocks, 1, [&](std::int64_t begin, std::int64_t end) {
      thread_local Buffer<double> storage;
      double* dots = storage.get(static_cast<std::size_t>(kBlockRows * kBlockColumns));
      for (std::int64_t block = begin; block < end; ++block) {
        const std::int64_t i = block % row_blocks * block_rows, j = block / row_blocks * kBlockColumns;
        const DotBlock result{top + i, std::min(block_rows, rows - i), j, std::min(kBlockColumns, n - j), dots};
        std::int64_t p = 0;
        do {
          const std::int64_t depth = std::min(range.step, range.depth - p);
          std::fill_n(dots, round_up(result.rows, kTileRows) * kBlockColumns, 0.0);
          add_block(panel, i, result.rows, b, j, result.columns, p, depth, range.first, dots);
          visit(result, range.first + p);
          p += range.step;
        } while (p < range.depth);
      }
    });
  }
}

}  // namespace fp8ref::cpu
