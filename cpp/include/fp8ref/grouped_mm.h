// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/grouped_mm.md: whose rows are whose. The elements are those of fp8ref/scaled_mm.h.
#pragma once

#include <cstdint>

#include "fp8ref/platform.h"
#include "fp8ref/scaled_mm.h"

namespace fp8ref {

/// The expert of a row, by bisection: the last one that begins at or before it [GROUPED-EMPTY]; -1 for a row of no
/// expert [GROUPED-ROWS]. offsets: experts + 1, non-decreasing.
template <class Offset>
FP8REF_HD std::int64_t expert_of_row(const Offset* offsets, std::int64_t experts, std::int64_t row) {
  std::int64_t low = 0, high = experts;  // offsets[low - 1] <= row < offsets[high + 1], as far as they exist
  while (low < high) {
    const std::int64_t middle = low + (high - low + 1) / 2;
    if (offsets[middle] <= row) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low < experts && offsets[low] <= row ? low : -1;
}

}  // namespace fp8ref
