// SPDX-License-Identifier: Apache-2.0
// The modes of [MMA-MODES]: what every matrix product of a model runs on, as rows of data.
#pragma once

#include <optional>

#include "fp8ref/platform.h"

namespace fp8ref {

struct Mode {
  Accumulate name;
  std::optional<Accumulate> fp8;  // the accumulator of FP8 matrix products; none: the hardware has no FP8 unit
  Accumulate bf16;                // exact, or the unit of all others
};

inline constexpr Mode kModes[] = {
    {Accumulate::exact, Accumulate::exact, Accumulate::exact},
    {Accumulate::sm80, std::nullopt, Accumulate::sm80_mma},
    {Accumulate::sm89, Accumulate::sm89_mma, Accumulate::sm89_mma},
    {Accumulate::sm90, Accumulate::sm90_wgmma, Accumulate::sm90_wgmma},
};

/// The mode of that name; nullptr for the names of units and accumulators.
constexpr const Mode* find_mode(Accumulate name) {
  for (const Mode& mode : kModes) {
    if (mode.name == name) return &mode;
  }
  return nullptr;
}

/// What a name means for bf16 operands: exact, or a unit [LINEAR-UNIT].
constexpr Accumulate bf16_unit(Accumulate name) {
  const Mode* mode = find_mode(name);
  return mode != nullptr ? mode->bf16 : name;
}

}  // namespace fp8ref
