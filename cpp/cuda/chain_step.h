// SPDX-License-Identifier: Apache-2.0
// A step of any tensor core [MMA-STEP] on CUDA cores, for 4 x 8 outputs a thread. Internal.
//
// The grid of a step is 2^(E - 13). With M = 2^(E + 10) that is the last place of M, so that one fused multiply-add
// toward zero, M + |a| |b|, multiplies and cuts: the lowest 15 bits of its pattern are the product in units of the
// grid, at most 2^13 * 4 - 1. Two of those are packed, and dp2a adds them with their signs. Units that keep F > 13 bits
// have a second limb: what the first cut has left, |a| |b| - (cut product), is cut in the same way to the grid 2^(E -
// F).
//
// The sums start as 1.5 M plus the cut accumulator, taken as bits; the integer sum is added to the bits, and what comes
// out less 1.5 M is the step's sum, exactly: it has less than 2^21 units. Two limbs are added toward zero, which is the
// FP32 conversion of [MMA-RESULT]; one limb loses the 10 lowest of fp32's 24 bits for E8M13.
//
// E is found by the tensor cores of the GPU at hand. Each element counts as 16^exponent, zeros as 0; a sum of 8 such
// products lies between the largest one and 8 times it, so its exponent divided by 4 is that of the largest. What a
// tensor core may cut off smaller terms does not change this.
#pragma once

#include <cstdint>

#include "cuda/chain_panel.h"

namespace fp8ref::cuda {

inline constexpr int kRows = 4, kColumns = 8;  // outputs of a thread
inline constexpr int kFirstLimb = 13;          // fraction bits

/// A chain's accumulators between steps, and its sums within one.
struct ChainOutputs {
  float accumulator[kRows][kColumns];
  float magic[kRows][kColumns];  // M
  std::int32_t sum[kRows][kColumns], low_sum[kRows][kColumns];
};

/// The panels of a step, and where this thread is in them.
struct ChainView {
  const ChainPanel &a, &b;
  int warp_row, warp_column;  // halves of the panels

  __device__ int first_row() const { return kChainWarp * warp_row + kRows * (lane_index() / 4); }
  __device__ int first_column() const { return kChainWarp * warp_column + kColumns * (lane_index() % 4); }
};

/// c with its magnitude cut to a multiple of the last place of M > |c|.
__device__ __forceinline__ float cut_to(float magic, float c) {
  const float signed_magic =
      bit_cast<float>(bit_cast<std::uint32_t>(magic) | (bit_cast<std::uint32_t>(c) & 0x80000000));
  return sub32(fma_toward_zero(c, 1.0f, signed_magic), signed_magic);
}
__device__ __forceinline__ float one_and_a_half(float magic) {
  return bit_cast<float>(bit_cast<std::uint32_t>(magic) | 0x00400000);
}
/// M of the second limb: the grid is 2^(F - 13) times as fine.
template <TensorCore core>
__device__ __forceinline__ float low_magic(float magic) {
  return bit_cast<float>(bit_cast<std::uint32_t>(magic) - ((core.fraction_bits - kFirstLimb) << 23));
}

/// The exponents of the largest products, as sums of powers of 16, for the block of core.block elements at `first`.
template <TensorCore core>
__device__ __forceinline__ void largest_powers(const ChainView& view, int first, float (&top)[kRows][kColumns]) {
#pragma unroll
  for (int q = 0; q < core.block / 8; ++q) {
    const auto& a = view.a.powers[first / 8 + q][view.warp_row];
    const auto& b = view.b.powers[first / 8 + q][view.warp_column];
    std::uint32_t a_pair[kRows], b_pair[kColumns / 2];
#pragma unroll
    for (int i = 0; i < kRows; ++i) a_pair[i] = a[8 * i + lane_index() / 4][lane_index() % 4];
#pragma unroll
    for (int i = 0; i < kColumns / 2; ++i) b_pair[i] = b[8 * i + lane_index() / 4][lane_index() % 4];
#pragma unroll
    for (int i = 0; i < kRows / 2; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns / 2; ++j) {
        float sums[4] = {};
        mma_bf16(sums, {a_pair[2 * i], a_pair[2 * i + 1], 0, 0}, {b_pair[j], 0});
#pragma unroll
        for (int x = 0; x < 4; ++x) {
          float& largest = top[2 * i + x / 2][2 * j + x % 2];
          largest = q == 0 ? sums[x] : fmaxf(largest, sums[x]);
        }
      }
    }
  }
}

/// E, and the sums with nothing but the accumulators in them.
template <TensorCore core>
__device__ __forceinline__ void begin_step(const ChainView& view, int first, ChainOutputs& out) {
  constexpr std::uint32_t kToMagic = (23 - kFirstLimb) << 23;
  largest_powers<core>(view, first, out.magic);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const float accumulator = out.accumulator[r][c];
      // The field of a quarter of the exponent, rounded down: (field - 127) / 4 + 127. No product at all counts as
      // 2^-32, which is below the exponent of every product, and too low to cut any accumulator that chains meet.
      const std::uint32_t products = (bit_cast<std::uint32_t>(out.magic[r][c]) >> 2) + (381 << 21) + kToMagic;
      const auto own = bit_cast<std::uint32_t>(mul32(fabsf(accumulator), 1 << (23 - kFirstLimb)));
      const float magic = bit_cast<float>((products > own ? products : own) & 0x7F800000);
      const float cut = cut_to(magic, accumulator);
      out.magic[r][c] = magic;
      out.sum[r][c] = bit_cast<std::int32_t>(add32(one_and_a_half(magic), cut));
      if constexpr (core.fraction_bits > kFirstLimb) {
        const float low = low_magic<core>(magic);
        out.low_sum[r][c] = bit_cast<std::int32_t>(add32(one_and_a_half(low), cut_to(low, sub32(accumulator, cut))));
      }
    }
  }
}

/// Adds the lowest halves of 4 patterns, with the signs of the bytes.
__device__ __forceinline__ std::int32_t add_signed(const float (&term)[4], std::uint32_t sign, std::int32_t sum) {
  const auto bits = [&](int i) { return bit_cast<std::uint32_t>(term[i]); };
  const auto signs = static_cast<int>(sign);
  sum = __dp2a_lo(static_cast<int>(__byte_perm(bits(0), bits(1), 0x5410)), signs, sum);
  return __dp2a_hi(static_cast<int>(__byte_perm(bits(2), bits(3), 0x5410)), signs, sum);
}

/// 4 elements of k, from 4 * group on.
template <TensorCore core>
__device__ __forceinline__ void add_products(const ChainView& view, int group, ChainOutputs& out) {
  constexpr float kBothMagics = 1 + 1.0f / (1 << (core.fraction_bits - kFirstLimb));
  float a[4][kRows], b[4][kColumns];
  std::uint32_t a_sign[kRows], b_sign[kColumns];
  const int row = view.first_row(), column = view.first_column();
#pragma unroll
  for (int k = 0; k < 4; ++k) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) a[k][r] = view.a.value[4 * group + k][row + r];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) b[k][c] = view.b.value[4 * group + k][column + c];
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) a_sign[r] = view.a.sign[group][row + r];
#pragma unroll
  for (int c = 0; c < kColumns; ++c) b_sign[c] = view.b.sign[group][column + c];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const float magic = out.magic[r][c];
      float term[4], low_term[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        term[k] = fma_toward_zero(a[k][r], b[k][c], magic);
        if constexpr (core.fraction_bits > kFirstLimb) {  // M of the second limb less the cut product, exactly
          low_term[k] = fma_toward_zero(a[k][r], b[k][c], fma32(magic, kBothMagics, -term[k]));
        }
      }
      const std::uint32_t sign = a_sign[r] ^ b_sign[c];
      out.sum[r][c] = add_signed(term, sign, out.sum[r][c]);
      if constexpr (core.fraction_bits > kFirstLimb) out.low_sum[r][c] = add_signed(low_term, sign, out.low_sum[r][c]);
    }
  }
}

/// The results of a step [MMA-RESULT].
template <TensorCore core>
__device__ __forceinline__ void end_step(ChainOutputs& out) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const float magic = out.magic[r][c];
      const float sum = sub32(bit_cast<float>(out.sum[r][c]), one_and_a_half(magic));
      if constexpr (core.fraction_bits > kFirstLimb) {
        const float low = sub32(bit_cast<float>(out.low_sum[r][c]), one_and_a_half(low_magic<core>(magic)));
        out.accumulator[r][c] = fma_toward_zero(sum, 1.0f, low);
      } else {
        out.accumulator[r][c] = bit_cast<float>(bit_cast<std::uint32_t>(sum) & 0xFFFFFC00);
      }
    }
  }
}

template <TensorCore core>
__device__ __forceinline__ void run_step(const ChainView& view, int first, ChainOutputs& out) {
  begin_step<core>(view, first, out);
#pragma unroll 1
  for (int group = first / 4; group < (first + core.block) / 4; ++group) add_products<core>(view, group, out);
  end_step<core>(out);
}

/// All steps of a panel's 32 elements.
template <TensorCore core>
__device__ __forceinline__ void run_steps(const ChainView& view, ChainOutputs& out) {
  static_assert(core.block % 8 == 0 && core.result != Conversion::fp16);
  static_assert(core.fraction_bits > kFirstLimb || core.result == Conversion::e8m13);
  static_assert(core.fraction_bits - kFirstLimb <= 15, "a limb is a signed half");
  float before[kRows][kColumns];
#pragma unroll
  for (int r = 0; r < kRows && core.order == Order::rewritten; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      before[r][c] = out.accumulator[r][c];
      out.accumulator[r][c] = 0;
    }
  }
#pragma unroll 1
  for (int first = 0; first < kChainDepth; first += core.block) run_step<core>(view, first, out);
#pragma unroll
  for (int r = 0; r < kRows && core.order == Order::rewritten; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) out.accumulator[r][c] = add32(out.accumulator[r][c], before[r][c]);
  }
}

}  // namespace fp8ref::cuda
