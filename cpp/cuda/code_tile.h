// SPDX-License-Identifier: Apache-2.0
// Tiles of bytes in shared memory for the exact GEMMs: 128 rows of a and 128 of b, 64 bytes of k at a time, in a ring
// of stages that asynchronous copies fill. Internal.
//
// A stage has two panels of 32 bytes of k; in a panel, the rows of a and then those of b lie one after another. A warp
// reads 8 bytes of each of 8 rows at once (lane: row lane / 4, bytes 8 (lane % 4) on), and so 256 bytes without a gap:
// no two lanes meet in a bank. Which k a lane has is of no matter to an exact sum, as long as a and b agree.
#pragma once

#include <cstdint>

#include "cuda/device.h"

namespace fp8ref::cuda {

struct CodeTile {
  static constexpr int kThreads = 256, kRows = 128, kColumns = 128, kDepth = 64, kStages = 3;
  static constexpr int kPanel = 32, kPanelBytes = (kRows + kColumns) * kPanel, kStageBytes = 2 * kPanelBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes;

  // 8 warps, each with 64 x 32 outputs: 4 x 4 tiles of 16 x 8.
  static constexpr int kRowTiles = 4, kColumnTiles = 4;
  __device__ static int warp_row() { return warp_index() / 4 * 64; }
  __device__ static int warp_column() { return warp_index() % 4 * 32; }
};

/// The rows that this thread copies: one of a and one of b.
struct CopiedRows {
  const std::uint8_t *a, *b;
};
__device__ inline int copied_row() { return static_cast<int>(threadIdx.x >> 1); }

/// copy(to, row, k) for the four times 16 bytes of a stage that are this thread's; two threads fill a sector of 32.
template <class Copy>
__device__ __forceinline__ void fill_stage(unsigned char* stage, const CopiedRows& rows, std::int64_t k,
                                           const Copy& copy) {
  const int half = static_cast<int>(threadIdx.x & 1) * 16, row = copied_row();
#pragma unroll
  for (int panel = 0; panel < 2; ++panel) {
    unsigned char* to = stage + panel * CodeTile::kPanelBytes + row * CodeTile::kPanel + half;
    copy(to, rows.a, k + panel * CodeTile::kPanel + half);
    copy(to + CodeTile::kRows * CodeTile::kPanel, rows.b, k + panel * CodeTile::kPanel + half);
  }
}

/// The 8 bytes of this lane in a row of a panel.
__device__ __forceinline__ uint2 lane_bytes(const unsigned char* panel, int row) {
  const int lane = lane_index();
  return *reinterpret_cast<const uint2*>(panel + (row + lane / 4) * CodeTile::kPanel + lane % 4 * 8);
}

/// fill(step, stage) and use(step, stage) for all steps, the copies kStages - 1 steps ahead.
template <class Fill, class Use>
__device__ __forceinline__ void for_steps(int steps, unsigned char* shared, const Fill& fill, const Use& use) {
  constexpr int kAhead = CodeTile::kStages - 1;
  for (int step = 0; step < kAhead; ++step) {
    if (step < steps) fill(step, shared + step * CodeTile::kStageBytes);
    commit_copies();
  }
  int stage = 0, ahead = kAhead;
  for (int step = 0; step < steps; ++step) {
    wait_copies<kAhead - 1>();
    __syncthreads();  // the stage is full, and everyone is done with the one before it
    if (step + kAhead < steps) fill(step + kAhead, shared + ahead * CodeTile::kStageBytes);
    commit_copies();
    use(step, shared + stage * CodeTile::kStageBytes);
    stage = stage + 1 == CodeTile::kStages ? 0 : stage + 1;
    ahead = ahead + 1 == CodeTile::kStages ? 0 : ahead + 1;
  }
}

/// use(row, column, sum) for the outputs of a warp, 32 columns of a row at a time, from the registers sum(i, j, r) of
/// its tiles: r as tensor_core_ptx.h numbers them. Whole warps come to every `use`.
template <class Sum, class Use>
__device__ __forceinline__ void for_outputs(unsigned char* shared, const Sum& sum, const Use& use) {
  const int lane = lane_index(), g = lane / 4, t = lane % 4;
  __syncthreads();  // the stages are no longer needed
  std::int64_t* mine = reinterpret_cast<std::int64_t*>(shared) + warp_index() * 16 * 32;
#pragma unroll
  for (int i = 0; i < CodeTile::kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < CodeTile::kColumnTiles; ++j) {
#pragma unroll
      for (int r = 0; r < 4; ++r) mine[(g + 8 * (r / 2)) * 32 + 8 * j + 2 * t + r % 2] = sum(i, j, r);
    }
    __syncwarp();
#pragma unroll 1
    for (int row = 0; row < 16; ++row) {
      use(CodeTile::warp_row() + 16 * i + row, CodeTile::warp_column() + lane, mine[row * 32 + lane]);
    }
    __syncwarp();
  }
}
static_assert(8 * 16 * 32 * sizeof(std::int64_t) <= CodeTile::kSharedBytes);

/// Tile `index` of a grid: bands of 8 row tiles, column by column, so that blocks that run together share rows in L2.
struct GridTile {
  std::int64_t row, column;
};
FP8REF_HD GridTile grid_tile(std::int64_t index, std::int64_t row_tiles, std::int64_t column_tiles) {
  const std::int64_t band = index / (8 * column_tiles), rest = index % (8 * column_tiles);
  const std::int64_t height = row_tiles - 8 * band < 8 ? row_tiles - 8 * band : 8;
  return {8 * band + rest % height, rest / height};
}

}  // namespace fp8ref::cuda
