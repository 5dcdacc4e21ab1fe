// SPDX-License-Identifier: Apache-2.0
// Operands of tensor-core chains: what their rows hold, and how they are packed for the kernels. Internal.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "chain_kernels.h"

namespace fp8ref::cpu {

/// visit(data as the pointer that it is).
template <class Visit>
decltype(auto) with_operand(Operand type, const void* data, const Visit& visit) {
  switch (type) {
    case Operand::e4m3:
      return visit(static_cast<const e4m3*>(data));
    case Operand::e5m2:
      return visit(static_cast<const e5m2*>(data));
    case Operand::bf16:
      return visit(static_cast<const bf16*>(data));
    case Operand::fp16:
      break;
  }
  return visit(static_cast<const fp16*>(data));
}

/// What a row holds; a NaN outweighs infinities, and an infinity the range of the rest.
enum RowFlags : std::uint8_t { kPlainRow = 0, kWideRow = 1, kInfiniteRow = 2, kNanRow = 4 };

template <class T>
RowFlags row_flags(const T* row, std::int64_t k) {
  std::uint32_t largest = 0, smallest = ~std::uint32_t{0};  // of the non-zero magnitudes, less 1
  for (std::int64_t i = 0; i < k; ++i) {
    const std::uint32_t magnitude = magnitude_pattern(row[i]);
    largest = std::max(largest, magnitude);
    smallest = std::min(smallest, magnitude - 1);
  }
  const T extreme{static_cast<decltype(T::bits)>(largest)};
  if (kind(extreme) == Kind::nan) return kNanRow;
  if (kind(extreme) == Kind::infinite) return kInfiniteRow;
  if (largest == 0) return kPlainRow;
  auto exponent = [](std::uint32_t magnitude) {
    return std::max(static_cast<int>(magnitude >> Encoding<T>::kFraction), 1) - Encoding<T>::kBias;
  };
  const bool narrow = exponent(largest) <= kNarrowExponent && exponent(smallest + 1) >= -kNarrowExponent;
  return narrow ? kPlainRow : kWideRow;
}

template <class T>
void pack_element(T x, int k, NarrowRow& row) {
  row.value[k] = narrow_value(x);
  row.exponent[k] = narrow_exponent(x);
}
template <class T>
void pack_element(T x, int k, WideRow& row) {
  const bool finite = kind(x) == Kind::finite;
  const Factor parts = factor(x);
  constexpr float kUnit = 1.0f / (1 << Encoding<T>::kFraction);
  row.value[k] = finite ? static_cast<float>(static_cast<std::int32_t>(parts.significand)) * kUnit : 0.0f;
  row.exponent[k] = finite ? parts.exponent : kWideZero;
}

/// One step of up to 32 elements; those beyond `count` are 0.
template <class T, class Row>
void pack_step(const T* x, int count, Order order, Row& row) {
  T full[kChainDepth] = {};
  std::copy_n(x, count, full);
  if constexpr (sizeof(T) == 1) {
    if (order == Order::rewritten) {
      for (int k = 0; k < kChainDepth; ++k) pack_element(to_fp16(full[k]), k % 4 / 2 * 16 + k / 4 * 2 + k % 2, row);
      return;
    }
  }
  for (int k = 0; k < kChainDepth; ++k) pack_element(full[k], k, row);
}

/// A row of k elements, as steps.
template <class T, class Row>
void pack_row(const T* x, std::int64_t k, Order order, Row* steps) {
  for (std::int64_t p = 0; p < k; p += kChainDepth) {
    pack_step(x + p, static_cast<int>(std::min<std::int64_t>(kChainDepth, k - p)), order, steps[p / kChainDepth]);
  }
}

inline void place(const NarrowRow& row, int column, NarrowTile& tile) {
  for (int k = 0; k < kChainDepth; ++k) tile.value[k][column] = row.value[k];
  for (int k = 0; k < kChainDepth; k += 4) std::memcpy(tile.exponent[k / 4][column], row.exponent + k, 4);
}
inline void place(const WideRow& row, int column, WideTile& tile) {
  for (int k = 0; k < kChainDepth; ++k) tile.value[k][column] = row.value[k];
  for (int k = 0; k < kChainDepth; ++k) tile.exponent[k][column] = row.exponent[k];
}

/// `columns` rows of b, as steps of tiles; rows that a tile lacks are 0.
template <class T, class Row, class Tile>
void pack_tile(const T* rows, std::int64_t columns, std::int64_t k, Order order, Tile* steps) {
  for (std::int64_t p = 0; p < k; p += kChainDepth) {
    const int count = static_cast<int>(std::min<std::int64_t>(kChainDepth, k - p));
    for (int c = 0; c < kChainColumns; ++c) {
      Row row;
      pack_step(c < columns ? rows + c * k + p : rows, c < columns ? count : 0, order, row);
      place(row, c, steps[p / kChainDepth]);
    }
  }
}

/// The same for E4M3, with the kernel made for it.
inline void pack_e4m3_tile(const e4m3* rows, std::int64_t columns, std::int64_t k, const ChainKernels& kernels,
                           NarrowTile* steps) {
  static constexpr e4m3 kZeros[kChainDepth] = {};
  e4m3 tails[kChainColumns][kChainDepth];
  for (std::int64_t p = 0; p < k; p += kChainDepth) {
    const e4m3* parts[kChainColumns];
    for (int c = 0; c < kChainColumns; ++c) {
      parts[c] = c < columns ? rows + c * k + p : kZeros;
      if (c < columns && k - p < kChainDepth) {
        std::fill_n(std::copy_n(parts[c], k - p, tails[c]), kChainDepth - (k - p), e4m3{0});
        parts[c] = tails[c];
      }
    }
    kernels.pack_e4m3(parts, steps + p / kChainDepth);
  }
}

}  // namespace fp8ref::cpu
