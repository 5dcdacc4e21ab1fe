// SPDX-License-Identifier: Apache-2.0
// Exact products on the FP64 tensor cores [MM-EXACT]: codes in shared memory, made fp64 in registers.
//
// A step of 16 x 8 x 8 keeps an sm_90's tensor core busy for 32 cycles. For 8 of k a warp decodes 24 codes per lane (3
// integer instructions and one fp64 multiplication each) and issues 16 such steps, so decoding takes 72 of 512 cycles
// of the issue port and 144 of the integer pipe, of two warps together 288 of 1024: the tensor cores are the limit.
#include "cuda/code_tile.h"
#include "cuda/exact_sum.h"

namespace fp8ref::cuda {
namespace {

using Tile = CodeTile;

/// Byte `index` of four codes, a finite one, as fp64: its 7 bits are those of an fp64 number 2^1016 too small, E4M3's
/// subnormals being subnormal there too.
__device__ __forceinline__ double decoded(std::uint32_t four, int index) {
  const auto top = static_cast<std::int32_t>(four << (24 - 8 * index)) >> 7;  // copies of the sign above the 7 bits
  return mul64(bit_cast<double>(static_cast<std::uint64_t>(static_cast<std::uint32_t>(top) & 0x80FE0000) << 32),
               0x1p1016);
}

/// The sums of one warp.
struct WarpSums {
  double c[Tile::kRowTiles][Tile::kColumnTiles][4] = {};
  std::uint32_t nan = 0;  // whether a code that this lane has seen was one

  __device__ __forceinline__ void add(const unsigned char* panel) {
#pragma unroll 1
    for (int half = 0; half < 2; ++half) {  // 16 of k: fewer codes in registers
      std::uint32_t a[2 * Tile::kRowTiles], b[Tile::kColumnTiles];
#pragma unroll
      for (int i = 0; i < 2 * Tile::kRowTiles; ++i) a[i] = seen(lane_codes(panel, Tile::warp_row() + 8 * i, half));
#pragma unroll
      for (int j = 0; j < Tile::kColumnTiles; ++j) {
        b[j] = seen(lane_codes(panel, Tile::kRows + Tile::warp_column() + 8 * j, half));
      }
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) add_pair(a, b, pair);
    }
  }

 private:
  __device__ __forceinline__ static std::uint32_t lane_codes(const unsigned char* panel, int row, int half) {
    const int lane = lane_index();
    return *reinterpret_cast<const std::uint32_t*>(panel + (row + lane / 4) * Tile::kPanel + 16 * half + lane % 4 * 4);
  }
  __device__ __forceinline__ std::uint32_t seen(std::uint32_t codes) {
    nan |= nan_codes(codes);
    return codes;
  }

  /// One step of the tensor core: two codes of each lane's four.
  __device__ __forceinline__ void add_pair(const std::uint32_t (&a)[2 * Tile::kRowTiles],
                                           const std::uint32_t (&b)[Tile::kColumnTiles], int pair) {
    double y[Tile::kColumnTiles][2];
#pragma unroll
    for (int j = 0; j < 2 * Tile::kColumnTiles; ++j) y[j / 2][j % 2] = decoded(b[j / 2], 2 * pair + j % 2);
#pragma unroll
    for (int i = 0; i < Tile::kRowTiles; ++i) {
      double x[4];
#pragma unroll
      for (int r = 0; r < 4; ++r) x[r] = decoded(a[2 * i + r % 2], 2 * pair + r / 2);
#pragma unroll
      for (int j = 0; j < Tile::kColumnTiles; ++j) mma_f64(c[i][j], x, y[j]);
    }
  }
};

__device__ bool has_nan(const std::uint8_t* codes, std::int64_t first, std::int64_t n, int step) {
  bool nan = false;
  for (std::int64_t i = first; i < n; i += step) nan = nan || is_nan(e4m3{codes[i]});
  return nan;
}

/// The sums of a warp to where they belong. NaN codes are rare: where the warp has seen one, it looks for their rows.
__device__ __forceinline__ void finish(const GroupedMmArgs& args, const Span& span, const RowTile& rows,
                                       std::int64_t first_column, const WarpSums& sums) {
  const ScaledMmArgs& all = args.all;
  const bool search = __any_sync(0xFFFFFFFF, sums.nan != 0) != 0;
  const std::int64_t mine = first_column + Tile::warp_column() + lane_index();
  const bool nan_column =
      search && mine < all.n && has_nan(b_codes(all, rows.expert, mine) + span.first, 0, span.depth, 1);
  for_outputs(
      shared_memory<unsigned char>(),
      [&](int i, int j, int r) { return static_cast<std::int64_t>(mul64(sums.c[i][j][r], kProductScale)); },
      [&](int row, int, std::int64_t sum) {
        if (row >= rows.rows) return;  // the whole warp
        const std::int64_t i = rows.first + row;
        if (search) {
          const bool nan = has_nan(a_codes(all, i) + span.first, lane_index(), span.depth, 32);
          if (__any_sync(0xFFFFFFFF, nan) != 0 || nan_column) sum = kNanSum;
        }
        if (mine < all.n) finish_sum(args, span, rows.expert, i, mine, sum);
      });
}

/// 16 bytes of k from a row of codes that ends at `end`; beyond it zeros.
template <bool aligned>
__device__ __forceinline__ void copy_codes(unsigned char* to, const std::uint8_t* row, std::int64_t k,
                                           std::int64_t end) {
  if (aligned && k < end) return copy_async(to, row + k);
  *reinterpret_cast<uint4*>(to) = load_sixteen<aligned>(row, k, end);
}

/// aligned: rows begin at multiples of 16 bytes, and have whole ones.
template <bool aligned>
__global__ void __launch_bounds__(Tile::kThreads)
    f64_kernel(GroupedMmArgs args, Span span, std::int64_t row_tiles, std::int64_t column_tiles) {
  const GridTile at = grid_tile(blockIdx.x, row_tiles, column_tiles);
  const RowTile rows = row_tile(args, at.row, Tile::kRows);
  if (rows.rows <= 0) return;
  const ScaledMmArgs& all = args.all;
  const std::int64_t first_column = at.column * Tile::kColumns, columns = all.n - first_column;
  // Rows past the last one are copies of it, and their sums are left out.
  const int row = copied_row() < rows.rows ? copied_row() : rows.rows - 1;
  const std::int64_t column = copied_row() < columns ? copied_row() : columns - 1;
  const CopiedRows copied{a_codes(all, rows.first + row), b_codes(all, rows.expert, first_column + column)};
  const std::int64_t end = span.first + span.depth;
  WarpSums sums;
  for_steps((span.depth + Tile::kDepth - 1) / Tile::kDepth, shared_memory<unsigned char>(),
            [&](std::int64_t step, unsigned char* stage) {
              fill_stage(stage, copied, span.first + step * Tile::kDepth,
                         [&](unsigned char* to, const std::uint8_t* from, std::int64_t k) {
                           copy_codes<aligned>(to, from, k, end);
                         });
            },
            [&](int, const unsigned char* stage) {
              sums.add(stage);
              sums.add(stage + Tile::kPanelBytes);
            });
  finish(args, span, rows, first_column, sums);
}

}  // namespace

void scaled_mm_f64(const GroupedMmArgs& args, Stream stream, std::int64_t most) {
  const std::int64_t row_tiles = most_row_tiles(args, Tile::kRows);
  const std::int64_t column_tiles = (args.all.n + Tile::kColumns - 1) / Tile::kColumns;
  const auto kernel = aligned_codes(args.all) ? f64_kernel<true> : f64_kernel<false>;
  for_spans(args, most, stream, [&](const Span& span) {
    launch("scaled_mm", kernel, static_cast<unsigned>(row_tiles * column_tiles), Tile::kThreads, Tile::kSharedBytes,
           stream, args, span, row_tiles, column_tiles);
  });
}

}  // namespace fp8ref::cuda
