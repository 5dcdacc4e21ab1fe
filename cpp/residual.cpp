// SPDX-License-Identifier: Apache-2.0
#include "fp8ref/residual.h"

#include "fp8ref/cpu.h"
#include "parallel.h"

namespace fp8ref::cpu {

void residual(const bf16* x, const bf16* y, std::size_t n, bf16* out) {
  parallel_for(static_cast<std::int64_t>(n), 1 << 15, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) out[i] = fp8ref::residual(x[i], y[i]);
  });
}

}  // namespace fp8ref::cpu
