// SPDX-License-Identifier: Apache-2.0
// Exact products on the INT8 tensor cores: five products of bytes make one of codes (cuda/toom.h). A first kernel
// writes each row's values at the five points, the planes, to a workspace; the second multiplies plane by plane, and
// adds each plane's int32 sums to int64 totals in registers: 64 + 128 registers, where all five at once would need 320.
//
// Per block and 64 of k of a plane: 48 KiB of shared memory are read and 16 KiB written, 512 cycles at 128 bytes each,
// and 2^20 products of bytes are taken, 256 cycles of an sm_90's tensor cores at best and about 410 by mma.sync. Shared
// memory is the limit there: 2048 products of bytes per cycle, 410 of codes, 3.2 times the 128 of the FP64 tensor
// cores.
#include "cuda/code_tile.h"
#include "cuda/exact_sum.h"
#include "cuda/toom.h"

namespace fp8ref::cuda {
namespace {

using Tile = CodeTile;

// ---- planes ---------------------------------------------------------------------------------------------------------
/// The planes of the rows of an operand: (rows, kPoints, depth) bytes, with zeros from k to depth; and which rows have
/// a NaN code.
struct Planes {
  std::uint8_t *values, *nan;
  std::int64_t depth;
};

constexpr int kPlaneThreads = 128;
__device__ constexpr PointTable kPointTable = point_table();

template <bool aligned>
__global__ void __launch_bounds__(kPlaneThreads)
    planes_kernel(const std::uint8_t* codes, std::int64_t rows, std::int64_t k, Planes planes) {
  __shared__ std::uint64_t table[256];
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += kPlaneThreads) table[i] = kPointTable.of[i];
  __syncthreads();
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    std::uint8_t* out = planes.values + row * kPoints * planes.depth;
    std::uint32_t nan = 0;
    for (std::int64_t at = 16 * threadIdx.x; at < planes.depth; at += 16 * kPlaneThreads) {
      const uint4 all = load_sixteen<aligned>(codes + row * k, at, k);
      const std::uint32_t four[4] = {all.x, all.y, all.z, all.w};
      std::uint32_t values[kPoints][4] = {};
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        const std::uint64_t entry = table[four[i / 4] >> (8 * (i % 4)) & 0xFF];
#pragma unroll
        for (int p = 0; p < kPoints; ++p) {
          values[p][i / 4] |= static_cast<std::uint32_t>(entry >> (8 * p) & 0xFF) << (8 * (i % 4));
        }
      }
      for (int i = 0; i < 4; ++i) nan |= nan_codes(four[i]);
#pragma unroll
      for (int p = 0; p < kPoints; ++p) {
        *reinterpret_cast<uint4*>(out + p * planes.depth + at) = {values[p][0], values[p][1], values[p][2],
                                                                  values[p][3]};
      }
    }
    const int any = __syncthreads_or(nan != 0);
    if (threadIdx.x == 0) planes.nan[row] = any != 0;
  }
}

// ---- products -------------------------------------------------------------------------------------------------------
/// The sums of one warp: of the plane at hand, and six times the exact ones so far.
struct WarpSums {
  std::int32_t c[Tile::kRowTiles][Tile::kColumnTiles][4] = {};
  std::int64_t total[Tile::kRowTiles][Tile::kColumnTiles][4] = {};

  __device__ __forceinline__ void add(const unsigned char* panel) {
    std::uint32_t b[Tile::kColumnTiles][2];
#pragma unroll
    for (int j = 0; j < Tile::kColumnTiles; ++j) {
      const uint2 codes = lane_bytes(panel, Tile::kRows + Tile::warp_column() + 8 * j);
      b[j][0] = codes.x, b[j][1] = codes.y;
    }
#pragma unroll
    for (int i = 0; i < Tile::kRowTiles; ++i) {
      const uint2 upper = lane_bytes(panel, Tile::warp_row() + 16 * i);
      const uint2 lower = lane_bytes(panel, Tile::warp_row() + 16 * i + 8);
      const std::uint32_t a[4] = {upper.x, lower.x, upper.y, lower.y};
#pragma unroll
      for (int j = 0; j < Tile::kColumnTiles; ++j) mma_s8(c[i][j], a, b[j]);
    }
  }

  __device__ __forceinline__ void finish_plane(std::int64_t weight) {
#pragma unroll
    for (int i = 0; i < Tile::kRowTiles; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kColumnTiles; ++j) {
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          total[i][j][r] += weight * c[i][j][r];
          c[i][j][r] = 0;
        }
      }
    }
  }
};

/// Where the next copy comes from, in a row of planes: all steps of a plane, then those of the next.
struct Position {
  int first, end, depth;  // at most kMostDepth
  int plane = 0, at = first;
  static_assert(kPoints * kMostDepth < std::int64_t{1} << 31);

  __device__ __forceinline__ int next() {
    const int offset = plane + at;
    at += Tile::kDepth;
    if (at >= end) {
      at = first;
      plane += depth;
    }
    return offset;
  }
};

__global__ void __launch_bounds__(Tile::kThreads)
    s8_kernel(GroupedMmArgs args, Span span, Planes a, Planes b, std::int64_t row_tiles, std::int64_t column_tiles) {
  const GridTile tile = grid_tile(blockIdx.x, row_tiles, column_tiles);
  const RowTile rows = row_tile(args, tile.row, Tile::kRows);
  if (rows.rows <= 0) return;
  const std::int64_t n = args.all.n, first_column = tile.column * Tile::kColumns, columns = n - first_column;
  // Rows past the last one are copies of it, and their sums are left out.
  const int row = copied_row() < rows.rows ? copied_row() : rows.rows - 1;
  const std::int64_t column = copied_row() < columns ? copied_row() : columns - 1, stride = kPoints * a.depth;
  const CopiedRows copied{a.values + (rows.first + row) * stride,
                          b.values + (rows.expert * n + first_column + column) * stride};
  const int steps = static_cast<int>((span.depth + Tile::kDepth - 1) / Tile::kDepth);
  Position position{static_cast<int>(span.first), static_cast<int>(span.first + span.depth), static_cast<int>(a.depth)};
  WarpSums sums;
  int point = 0;
  int last = steps - 1;  // step of this plane
  for_steps(
      steps * kPoints, shared_memory<unsigned char>(),
      [&](int, unsigned char* stage) {
        fill_stage(stage, copied, position.next(),
                   [](unsigned char* to, const std::uint8_t* from, std::int64_t k) { copy_async(to, from + k); });
      },
      [&](int step, const unsigned char* stage) {
        sums.add(stage);
        sums.add(stage + Tile::kPanelBytes);
        if (step < last) return;
        sums.finish_plane(point_weight(point++));
        last += steps;
      });
  const std::int64_t mine = first_column + Tile::warp_column() + lane_index();
  const bool nan_column = mine < n && b.nan[rows.expert * n + mine] != 0;
  for_outputs(
      shared_memory<unsigned char>(), [&](int i, int j, int r) { return sums.total[i][j][r]; },
      [&](int tile_row, int, std::int64_t sum) {
        if (tile_row >= rows.rows || mine >= n) return;
        const std::int64_t i = rows.first + tile_row;
        finish_sum(args, span, rows.expert, i, mine, nan_column || a.nan[i] != 0 ? kNanSum : sum / 6);
      });
}

std::int64_t padded_depth(const GroupedMmArgs& args) {
  return (args.all.k + Tile::kDepth - 1) / Tile::kDepth * Tile::kDepth;
}

/// The planes of an operand in a workspace.
class PlaneMemory {
 public:
  PlaneMemory(const void* codes, std::int64_t rows, const GroupedMmArgs& args, Stream stream)
      : memory_("scaled_mm", rows * (kPoints * padded_depth(args) + 1), stream),
        planes_{memory_.get(), memory_.get() + rows * kPoints * padded_depth(args), padded_depth(args)} {
    constexpr std::int64_t kMostBlocks = 8192;
    launch("scaled_mm", aligned_codes(args.all) ? planes_kernel<true> : planes_kernel<false>,
           static_cast<unsigned>(rows < kMostBlocks ? rows : kMostBlocks), kPlaneThreads, 0, stream,
           static_cast<const std::uint8_t*>(codes), rows, args.all.k, planes_);
  }
  const Planes& planes() const { return planes_; }

 private:
  Workspace<std::uint8_t> memory_;
  Planes planes_;
};

}  // namespace

std::int64_t s8_workspace(const GroupedMmArgs& args) {
  return (args.all.m + args.experts * args.all.n) * (kPoints * padded_depth(args) + 1);
}

void scaled_mm_s8(const GroupedMmArgs& args, Stream stream, std::int64_t most) {
  const PlaneMemory a(args.all.a, args.all.m, args, stream);
  const PlaneMemory b(args.all.b, args.experts * args.all.n, args, stream);
  const std::int64_t row_tiles = most_row_tiles(args, Tile::kRows);
  const std::int64_t column_tiles = (args.all.n + Tile::kColumns - 1) / Tile::kColumns;
  for_spans(args, most, stream, [&](const Span& span) {
    launch("scaled_mm", s8_kernel, static_cast<unsigned>(row_tiles * column_tiles), Tile::kThreads, Tile::kSharedBytes,
           stream, args, span, a.planes(), b.planes(), row_tiles, column_tiles);
  });
}

}  // namespace fp8ref::cuda
