// SPDX-License-Identifier: Apache-2.0
// Rounding fp32 results to the output type that the caller named. Internal.
#pragma once

#include <cstdint>

#include "fp8ref/e4m3.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref::cpu {

/// Writes n values, rounded once to the type, to element `offset` and on of `out`. E4M3 gets RN8(RN32(value * scale))
/// [MM-OUT-E4M3]; the other types have neither scale nor overflow policy.
inline void store(const float* values, std::int64_t n, OutDtype type, void* out, std::int64_t offset, float scale = 1,
                  Overflow overflow = Overflow::saturate) {
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
    case OutDtype::float8_e4m3fn:
      for (std::int64_t i = 0; i < n; ++i) {
        static_cast<e4m3*>(out)[offset + i] = encode(mul32(values[i], scale), overflow);
      }
      return;
  }
}

}  // namespace fp8ref::cpu
