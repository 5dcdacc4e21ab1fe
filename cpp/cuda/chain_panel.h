// SPDX-License-Identifier: Apache-2.0
// Operands of emulated tensor cores in shared memory: 32 elements of k of 64 rows, taken apart into what the steps of
// chain_step.h need. Internal.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "fp8ref/mma.h"

namespace fp8ref::cuda {

inline constexpr int kChainDepth = 32;  // elements of k of a panel
inline constexpr int kChainTile = 64;   // rows of a panel; a block of threads has such a tile of the output
inline constexpr int kChainWarp = 32;   // rows and columns of a warp's part of it
inline constexpr int kChainThreads = 128;

/// A thread (lane = 4 g + t) has rows 4 g + i of an operand a, columns 8 t + j of an operand b. A place is the row of a
/// fragment of the tensor cores (tensor_core_ptx.h) that a row fills: 8 places to a fragment.
enum class Side { a, b };
__device__ __forceinline__ int place_of(Side side, int row) {
  return side == Side::a ? row % 4 * 8 + row / 4 : row % 8 / 2 * 8 + row / 8 * 2 + row % 2;
}

struct alignas(16) ChainPanel {
  float value[kChainDepth][kChainTile];             // magnitudes
  std::uint32_t sign[kChainDepth / 4][kChainTile];  // a byte for each of 4 elements; see signs_of
  /// 16^exponent in bfloat16, or 0 for zeros, in pairs: [q][half of the rows][place][t] for k = 8 q + 2 t.
  std::uint32_t powers[kChainDepth / 8][2][kChainWarp][4];
};

/// How the bits of an operand become a magnitude.
struct OperandFormat {
  int shift;              // from the magnitude's bits to those of fp32
  float scale;            // what undoes the difference of the biases
  float least;            // 2^(the exponent of subnormal numbers)
  std::uint32_t special;  // added to the magnitudes of a word, it carries into the sign of infinities and NaNs
};

/// [MMA-STEP]; as fp16, E4M3's subnormal numbers have the exponents of their leading bits [MMA-REWRITE].
inline OperandFormat operand_format(Operand type, Order order) {
  if (type == Operand::e4m3) return {20, 0x1p120f, order == Order::rewritten ? 0x1p-9f : 0x1p-6f, 0x01010101};
  if (type == Operand::e5m2) return {21, 0x1p112f, 0x1p-14f, 0x04040404};
  return {13, 0x1p112f, 0x1p-14f, 0x04000400};  // fp16
}

/// 32 elements of one row, `bytes` each.
template <int bytes>
struct RowCodes {
  static constexpr int kWords = kChainDepth * bytes / 4;
  std::uint32_t word[kWords];
};

/// Elements first .. first + 31 of a row of k; those beyond it, and those of no row, are 0.
template <int bytes>
__device__ __forceinline__ RowCodes<bytes> load_codes(const unsigned char* row, std::int64_t first, std::int64_t k) {
  RowCodes<bytes> codes = {};
  if (row == nullptr || first >= k) return codes;
  const unsigned char* from = row + first * bytes;
  const std::int64_t count = (k - first) * bytes;
  if (count >= kChainDepth * bytes && reinterpret_cast<std::uintptr_t>(from) % 16 == 0) {
#pragma unroll
    for (int i = 0; i < RowCodes<bytes>::kWords / 4; ++i) {
      const uint4 four = reinterpret_cast<const uint4*>(from)[i];
      codes.word[4 * i] = four.x;
      codes.word[4 * i + 1] = four.y;
      codes.word[4 * i + 2] = four.z;
      codes.word[4 * i + 3] = four.w;
    }
    return codes;
  }
#pragma unroll
  for (int i = 0; i < kChainDepth * bytes; ++i) {  // without branches: there would be as many as bytes
    const std::uint32_t byte = from[i < count ? i : 0];
    codes.word[i / 4] |= (i < count ? byte : 0) << (8 * (i % 4));
  }
  return codes;
}

/// The order of two fp16 steps: of each 4 elements the first two go to the first half [MMA-REWRITE].
__device__ __forceinline__ RowCodes<1> rewritten_order(const RowCodes<1>& codes) {
  RowCodes<1> result;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int from = i % 4 * 2;
    result.word[i] = __byte_perm(codes.word[from], codes.word[from + 1], i < 4 ? 0x5410 : 0x7632);
  }
  return result;
}

/// Bytes of which the exclusive or, of one side's and the other's, is the sign of the product: 1 or -1.
__device__ __forceinline__ std::uint32_t signs_of(Side side, std::uint32_t top_bytes) {
  const std::uint32_t negative = (top_bytes >> 7 & 0x01010101) * 0xFE;
  return side == Side::a ? negative : negative ^ 0x01010101;
}

/// 16^exponent as bfloat16, with the exponent of [MMA-STEP]; 0 for 0. Exponents are within -14 .. 15, so a product of
/// two lies within fp32's normal numbers.
__device__ __forceinline__ std::uint32_t power_of(float magnitude, float least) {
  const std::uint32_t field = bit_cast<std::uint32_t>(fmaxf(magnitude, least)) >> 14 & 0x1FE00;  // times 4 * 128
  return magnitude == 0 ? 0 : field - (3 * 127 << 7);
}

/// Takes 32 elements of a row apart. Infinities and NaNs give some finite number.
template <int bytes>
__device__ __forceinline__ void fill_row(Side side, const OperandFormat& format, const RowCodes<bytes>& codes, int row,
                                         ChainPanel& panel) {
  constexpr int kPer = 4 / bytes;
  const int place = place_of(side, row % kChainWarp);
#pragma unroll
  for (int q = 0; q < kChainDepth / 8; ++q) {
    std::uint32_t powers[4] = {};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int k = 8 * q + i;
      const std::uint32_t bits = codes.word[k / kPer] >> (8 * bytes * (k % kPer)) & ((1u << (8 * bytes - 1)) - 1);
      const float magnitude = mul32(bit_cast<float>(bits << format.shift), format.scale);
      panel.value[k][row] = magnitude;
      powers[i / 2] |= power_of(magnitude, format.least) << (16 * (i % 2));
    }
    *reinterpret_cast<uint4*>(panel.powers[q][row / kChainWarp][place]) =
        uint4{powers[0], powers[1], powers[2], powers[3]};
  }
#pragma unroll
  for (int i = 0; i < kChainDepth / 4; ++i) {
    std::uint32_t top = codes.word[i];
    if constexpr (bytes == 2) top = __byte_perm(codes.word[2 * i], codes.word[2 * i + 1], 0x7531);
    panel.sign[i][row] = signs_of(side, top);
  }
}

/// Not 0 where a word holds an infinity or a NaN.
template <int bytes>
__device__ __forceinline__ std::uint32_t special_codes(const OperandFormat& format, const RowCodes<bytes>& codes) {
  constexpr std::uint32_t kSigns = bytes == 1 ? 0x80808080 : 0x80008000;
  std::uint32_t found = 0;
#pragma unroll
  for (int i = 0; i < RowCodes<bytes>::kWords; ++i) found |= ((codes.word[i] & ~kSigns) + format.special) & kSigns;
  return found;
}

}  // namespace fp8ref::cuda
