// SPDX-License-Identifier: Apache-2.0
// Exact sums on the FP16 tensor cores: codes go from memory to registers, and are made fp16 there. Internal.
//
// A code x is split at 1: h = the nearest integer, l = x - h, at most 1/2 in size and a multiple of 2^-9. The fp32 sums
// of h h', of h l' + l h' and of l l' over 64 of k are multiples of 1, 2^-9 and 2^-18 below 2^24 of them:
//   64 * 448^2 < 2^24,   64 * 2 * 448 * 2^8 < 2^24,   64 * 2^16 < 2^24,
// so a tensor core that keeps 24 fraction bits or more computes them exactly (all from sm_80 on). Then they are added
// to int64 totals. A NaN code makes h and l NaN, and with them the sums.
//
// Instructions of a lane for each of its bytes of weights, counted in the machine code for sm_90, and the weights that
// an H200 can then take at 1.98 GHz, where its memory gives 4.8 TB/s:
//   columns x rows of a warp    16 x 8: 5.9 (5.6 TB/s)    32 x 8: 5.2 (6.5)    16 x 16: 8.4 (4.0)    32 x 16: 7.4 (4.5)
// of which 3.75 to 2.3 split codes, and 0.5 to 1 are tensor-core steps.
#pragma once

#include "cuda/exact_sum.h"

namespace fp8ref::cuda {

inline constexpr int kChunk = 64;

__device__ __forceinline__ std::uint32_t word(const uint4& codes, int index) {
  return index == 0 ? codes.x : index == 1 ? codes.y : index == 2 ? codes.z : codes.w;
}

/// Four codes as fp16, each the sum of the two parts.
struct Split {
  std::uint32_t high[2], low[2];
};
__device__ __forceinline__ Split split(std::uint32_t codes) {
  constexpr std::uint32_t kRounder = 0x66006600;  // 1536: fp16 has no fraction bits there
  Split parts;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const std::uint32_t x = fp16_of_e4m3(i == 0 ? codes & 0xFFFF : codes >> 16);
    parts.high[i] = sub_fp16(add_fp16(x, kRounder), kRounder);
    parts.low[i] = sub_fp16(x, parts.high[i]);
  }
  return parts;
}

/// The sums of 16 columns and 8 rows over a chunk.
struct ChunkSums {
  float high[4] = {}, middle[4] = {}, low[4] = {};

  /// x: the columns' 16 of k (words of rows g and g + 8), y: the rows'.
  __device__ __forceinline__ void add(const Split& upper, const Split& lower, const Split& y) {
    const std::uint32_t h[4] = {upper.high[0], lower.high[0], upper.high[1], lower.high[1]};
    const std::uint32_t l[4] = {upper.low[0], lower.low[0], upper.low[1], lower.low[1]};
    mma_fp16(high, h, y.high);
    mma_fp16(middle, h, y.low);
    mma_fp16(middle, l, y.high);
    mma_fp16(low, l, y.low);
  }
};

/// The sums over a span, exact in fp64.
struct Totals {
  double sum[4] = {};

  __device__ __forceinline__ void add(const ChunkSums& chunk) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      sum[r] = add64(sum[r], chunk.high[r]);
      sum[r] = add64(sum[r], chunk.middle[r]);
      sum[r] = add64(sum[r], chunk.low[r]);
    }
  }
};

/// 16 * weights columns by 8 * width rows of a warp.
template <int weights, int width>
struct FewRows {
  static constexpr int kColumns = 16 * weights, kRows = 8 * width;

  const std::uint8_t *columns[weights][2], *rows[width];
  Totals totals[weights][width] = {};

  __device__ __forceinline__ FewRows(const ScaledMmArgs& args, const Span& span, const RowTile& tile,
                                     std::int64_t first_column) {
    const int g = lane_index() / 4;
    const std::int64_t k = span.first;
#pragma unroll
    for (int i = 0; i < 2 * weights; ++i) {  // columns and rows past the last one are copies of it
      const std::int64_t column = first_column + 8 * i + g;
      columns[i / 2][i % 2] = b_codes(args, tile.expert, column < args.n ? column : args.n - 1) + k;
    }
#pragma unroll
    for (int j = 0; j < width; ++j) {
      const int row = 8 * j + g;
      rows[j] = a_codes(args, tile.first + (row < tile.rows ? row : tile.rows - 1)) + k;
    }
  }

  struct Codes {
    uint4 columns[weights][2], rows[width];
  };
  /// The codes of this lane in the chunk at `first` of a span. Past its end those of the rows are 0, and those of the
  /// columns are others of the same column: they add nothing, and no NaN that is not there anyway.
  template <bool aligned>
  __device__ __forceinline__ Codes load(int first, int depth) const {
    Codes codes;
    const int at = first + lane_index() % 4 * 16;
#pragma unroll
    for (int i = 0; i < 2 * weights; ++i) {
      codes.columns[i / 2][i % 2] =
          load_sixteen<aligned>(columns[i / 2][i % 2], !aligned || at < depth ? at : 0, depth);
    }
#pragma unroll
    for (int j = 0; j < width; ++j) codes.rows[j] = load_sixteen<aligned>(rows[j], at, depth);
    return codes;
  }

  __device__ __forceinline__ void add(const Codes& codes) {
    ChunkSums sums[weights][width] = {};
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      Split y[width];
#pragma unroll
      for (int j = 0; j < width; ++j) y[j] = split(word(codes.rows[j], step));
#pragma unroll
      for (int i = 0; i < weights; ++i) {
        const Split upper = split(word(codes.columns[i][0], step)), lower = split(word(codes.columns[i][1], step));
#pragma unroll
        for (int j = 0; j < width; ++j) sums[i][j].add(upper, lower, y[j]);
      }
    }
#pragma unroll
    for (int i = 0; i < weights; ++i) {
#pragma unroll
      for (int j = 0; j < width; ++j) totals[i][j].add(sums[i][j]);
    }
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < weights * width; ++i) totals[i / width][i % width] = {};
  }

  /// use(row, column, sum) for the sums of this lane.
  template <class Use>
  __device__ __forceinline__ void for_sums(const Use& use) const {
    const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
    for (int i = 0; i < weights; ++i) {
#pragma unroll
      for (int j = 0; j < width; ++j) {
#pragma unroll
        for (int r = 0; r < 4; ++r) use(8 * j + 2 * t + r % 2, 16 * i + g + 8 * (r / 2), totals[i][j].sum[r]);
      }
    }
  }
};

}  // namespace fp8ref::cuda
