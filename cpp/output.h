// SPDX-License-Identifier: Apache-2.0
// Rounding fp32 results to the output type that the caller named. Internal.
#pragma once

#include <cstdint>

#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref::cpu {

/// Writes n values, rounded once to the type, to element `offset` and on of `out`.
inline void store(const float* values, std::int64_t n, OutDtype type, void* out, std::int64_t offset) {
  switch (type) {
    case OutDtype::float32:
      for (std::int64_t i = 0; i < n; ++i) static_cast<float*>(out)[offset + i] = values[i];
      return;
    case OutDtype::bfloat16:
      for (std::int64_t i = 0; i < n; ++i) static_cast<bf16*>(out)[offset + i] = rnbf(values[i]);
      return;
    case OutDtype::float16:
      for (std::int64_t i = 0; i < n; ++i) static_cast<fp16*>(out)[offset + i] = rn16(values[i]);
      return;
  }
}

}  // namespace fp8ref::cpu
