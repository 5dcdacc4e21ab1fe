// SPDX-License-Identifier: Apache-2.0
// The product of two finite E4M3 codes as integers from five products of bytes: Toom-Cook in three parts. Internal.
//
// An integer n of a code is d0 + 64 d1 + 4096 d2, the polynomial d(x) at x = 64. The product of two such polynomials
// has degree 4 and is known by its values at 0, 1, -1, 2 and infinity, each the product of the factors' values there;
// sums over k may be taken before it is put together. A code has only four significant bits, so its digits can be
// chosen with all five values within +-86: then int32 holds the sums of 290,357 products.
#pragma once

#include <cstdint>

#include "fp8ref/e4m3.h"

namespace fp8ref::cuda {

inline constexpr int kPoints = 5;  // 0, 1, -1, 2 and infinity
inline constexpr int kMostValue = 86;
static_assert((std::int64_t{171196} + 64) * kMostValue * kMostValue < std::int64_t{1} << 31);

struct PointValues {
  int at[kPoints];
};

constexpr PointValues point_values(int d0, int d1, int d2) {
  return {{d0, d0 + d1 + d2, d0 - d1 + d2, d0 + 2 * d1 + 4 * d2, d2}};
}

constexpr int largest(const PointValues& values) {
  int most = 0;
  for (const int value : values.at) most = (value < 0 ? -value : value) > most ? (value < 0 ? -value : value) : most;
  return most;
}

/// The digits of n >= 0 with the least values; the lowest has the last 6 bits of n, or 64 less.
constexpr PointValues point_values(int n) {
  PointValues best{{256, 0, 0, 0, 0}};
  for (int d2 = n / 4096; d2 < n / 4096 + 3; ++d2) {
    for (int d0 = n % 64 - 64; d0 <= n % 64 + 64; d0 += 64) {
      const PointValues values = point_values(d0, (n - d0 - 4096 * d2) / 64, d2);
      if (largest(values) < largest(best)) best = values;
    }
  }
  return best;
}

/// For every code the five values as bytes, that of point p in bits 8 p to 8 p + 7. NaN codes have those of 0.
struct PointTable {
  std::uint64_t of[256];
};
constexpr PointTable point_table() {
  PointTable table{};
  for (int code = 0; code < 256; ++code) {
    const int field = code >> 3 & 15, fraction = code & 7;
    if ((code & 0x7F) == 0x7F) continue;
    const PointValues values = point_values(field == 0 ? fraction : (8 + fraction) << (field - 1));
    for (int p = 0; p < kPoints; ++p) {
      const int value = code < 0x80 ? values.at[p] : -values.at[p];
      table.of[code] |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(value)) << (8 * p);
    }
  }
  return table;
}

/// With the products r of the values at the points, 6 n m = sum of weight * r. From the coefficients of the product,
///   c0 = r0, c4 = rinf, c2 = (r1 + r-1) / 2 - c0 - c4, c1 + c3 = (r1 - r-1) / 2,
///   c3 = ((r2 - c0 - 4 c2 - 16 c4) / 2 - (c1 + c3)) / 3,
/// and n m = c0 + 2^6 c1 + 2^12 c2 + 2^18 c3 + 2^24 c4. Six times it needs no division until the end.
FP8REF_HD constexpr std::int64_t point_weight(int point) {
  constexpr std::int64_t x1 = 64, x2 = x1 * 64, x3 = x2 * 64, x4 = x3 * 64;
  switch (point) {
    case 0:
      return 6 - 3 * x1 - 6 * x2 + 3 * x3;
    case 1:
      return 6 * x1 + 3 * x2 - 3 * x3;
    case 2:
      return -2 * x1 + 3 * x2 - x3;
    case 3:
      return x3 - x1;
    default:
      return 12 * x1 - 6 * x2 - 12 * x3 + 6 * x4;
  }
}

}  // namespace fp8ref::cuda
