// SPDX-License-Identifier: Apache-2.0
#include "fp8ref/residual.h"

#include "fp8ref/cpu.h"
#include "fpenv.h"
#include "parallel.h"

namespace fp8ref::cpu {

void residual(const bf16* x, const bf16* y, std::size_t n, bf16* out) {
  parallel_for(static_cast<std::int64_t>(n), 1 << 15, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) out[i] = fp8ref::residual(x[i], y[i]);
  });
}

void gated_residual(const bf16* x, const bf16* y, const bf16* gate, std::size_t n, bf16* out) {
  const FpEnv env;
  const bf16 factor = gate_tanh(*gate);
  parallel_for(static_cast<std::int64_t>(n), 1 << 15, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) out[i] = fp8ref::gated_residual(x[i], y[i], factor);
  });
}

}  // namespace fp8ref::cpu
