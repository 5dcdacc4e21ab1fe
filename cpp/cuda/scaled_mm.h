// SPDX-License-Identifier: Apache-2.0
// What the kernels of scaled_mm and grouped_mm share: tiles of rows, an expert's operands, and the way from a sum to an
// element of the output. Kernels take GroupedMmArgs; a scaled_mm is the one group of all.m rows, without offsets.
// Internal.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "fp8ref/args.h"
#include "fp8ref/grouped_mm.h"
#include "fp8ref/operand.h"
#include "fp8ref/scaled_mm.h"

namespace fp8ref::cuda {

// ---- groups of rows -------------------------------------------------------------------------------------------------
/// Some rows of a, all of one expert; rows is 0 where there are none.
struct RowTile {
  std::int64_t expert, first;
  int rows;
};

/// Rows cut into tiles of at most `size`, group by group: no tile holds rows of two experts. This many tiles are enough
/// for every division into groups, which only the device knows; those past the last one are empty.
inline std::int64_t most_row_tiles(const GroupedMmArgs& args, int size) {
  const std::int64_t rows = args.all.m;
  if (args.offsets == nullptr) return (rows + size - 1) / size;
  return rows / size + (args.experts < rows ? args.experts : rows);
}

/// Tile `index`. For whole warps: the lanes look at 32 experts at a time.
__device__ inline RowTile row_tile(const GroupedMmArgs& args, std::int64_t index, int size) {
  const auto rows_of = [&](std::int64_t rest) { return static_cast<int>(rest < size ? rest : size); };
  if (args.offsets == nullptr) return {0, index * size, rows_of(args.all.m - index * size)};
  const int lane = lane_index();
  for (std::int64_t first = 0, before = 0; first < args.experts; first += 32) {
    const std::int64_t expert = first + lane < args.experts ? first + lane : args.experts - 1;
    const std::int64_t begin = args.offsets[expert],
                       end = first + lane < args.experts ? args.offsets[expert + 1] : begin;
    const std::int64_t tiles = (end - begin + size - 1) / size;
    std::int64_t past = tiles;  // of this expert and of those before it
    for (int step = 1; step < 32; step *= 2) {
      const std::int64_t lower = __shfl_up_sync(0xFFFFFFFF, past, static_cast<unsigned>(step));
      if (lane >= step) past += lower;
    }
    const std::int64_t mine = index - (before + past - tiles);
    const unsigned found = __ballot_sync(0xFFFFFFFF, mine >= 0 && mine < tiles);
    if (found != 0) {
      const int from = __ffs(static_cast<int>(found)) - 1;
      const std::int64_t row = __shfl_sync(0xFFFFFFFF, begin + mine * size, from);
      return {first + from, row, rows_of(__shfl_sync(0xFFFFFFFF, end, from) - row)};
    }
    before += __shfl_sync(0xFFFFFFFF, past, 31);
  }
  return {0, 0, 0};
}

// ---- operands -------------------------------------------------------------------------------------------------------
/// Codes of row i of a, and of column j of an expert's b; all codes are bytes.
FP8REF_HD const std::uint8_t* a_codes(const ScaledMmArgs& args, std::int64_t i) {
  return static_cast<const std::uint8_t*>(args.a) + i * args.k;
}
FP8REF_HD const std::uint8_t* b_codes(const ScaledMmArgs& args, std::int64_t expert, std::int64_t j) {
  return static_cast<const std::uint8_t*>(args.b) + (expert * args.n + j) * args.k;
}
/// Whether the rows of a and of b begin at multiples of 16 bytes, and have whole ones.
inline bool aligned_codes(const ScaledMmArgs& args) {
  const auto at = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); };
  return (at(args.a) | at(args.b) | static_cast<std::uintptr_t>(args.k)) % 16 == 0;
}

/// 16 codes of a row from k on; 0 past its end.
template <bool aligned, class Depth>
__device__ __forceinline__ uint4 load_sixteen(const std::uint8_t* row, Depth k, Depth end) {
  if (aligned) return k < end ? *reinterpret_cast<const uint4*>(row + k) : uint4{0, 0, 0, 0};
  const auto four = [&](Depth from) {
    std::uint32_t codes = 0;
#pragma unroll 1
    for (int i = 0; i < 4 && from + i < end; ++i) codes |= static_cast<std::uint32_t>(row[from + i]) << (8 * i);
    return codes;
  };
  return {four(k), four(k + 4), four(k + 8), four(k + 12)};
}

FP8REF_HD const float* b_scales(const GroupedMmArgs& args, std::int64_t expert, std::int64_t j) {
  return args.all.b_scale.of_row(j) + expert * args.b_scale_stride;
}
FP8REF_HD const float* bias_of(const GroupedMmArgs& args, std::int64_t expert, std::int64_t j) {
  return args.all.bias == nullptr ? nullptr : args.all.bias + expert * args.all.n + j;
}

/// Epilogues that scale the dots of blocks one by one [MM-BLOCK-ORDERS].
FP8REF_HD bool ordered_blocks(Epilogue epilogue) {
  return epilogue == Epilogue::deepgemm || epilogue == Epilogue::triton || epilogue == Epilogue::triton_ba;
}

// ---- outputs --------------------------------------------------------------------------------------------------------
/// An fp32 result rounded to the output type, as bits [MM-OUT], [MM-OUT-E4M3].
FP8REF_HD std::uint32_t output_bits(const ScaledMmArgs& args, float value) {
  switch (args.out_dtype) {
    case OutDtype::float32:
      return bit_cast<std::uint32_t>(value);
    case OutDtype::bfloat16:
      return rnbf(value).bits;
    case OutDtype::float16:
      return rn16(value).bits;
    case OutDtype::float8_e4m3fn:
      return encode(mul32(value, args.out_scale), args.overflow).bits;
  }
  return 0;
}

__device__ inline void store_output(const ScaledMmArgs& args, std::int64_t i, std::int64_t j, float value) {
  const std::int64_t at = i * args.n + j;
  const std::uint32_t bits = output_bits(args, value);
  if (args.out_dtype == OutDtype::float32) {
    static_cast<std::uint32_t*>(args.out)[at] = bits;
  } else if (args.out_dtype == OutDtype::float8_e4m3fn) {
    static_cast<std::uint8_t*>(args.out)[at] = static_cast<std::uint8_t>(bits);
  } else {
    static_cast<std::uint16_t*>(args.out)[at] = static_cast<std::uint16_t>(bits);
  }
}

/// Steps 2 and 3 for the accumulator of row i, column j of an expert.
__device__ inline void finish_output(const GroupedMmArgs& args, std::int64_t expert, std::int64_t i, std::int64_t j,
                                     float accumulator) {
  const float value = scaled_mm_epilogue(accumulator, *args.all.a_scale.of_row(i), *b_scales(args, expert, j),
                                         bias_of(args, expert, j), args.all.epilogue);
  store_output(args.all, i, j, value);
}

}  // namespace fp8ref::cuda
