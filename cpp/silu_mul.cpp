// SPDX-License-Identifier: Apache-2.0
#include "fp8ref/silu_mul.h"

#include <vector>

#include "fp8ref/cpu.h"
#include "fpenv.h"
#include "parallel.h"

namespace fp8ref::cpu {
namespace {

/// RNbf(RN32(silu(g))) by the bits of g, computed at the first use.
const bf16* silu_table() {
  static const std::vector<bf16> table = [] {
    const FpEnv env;
    std::vector<bf16> values(1 << 16);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = rnbf(silu(bf16{static_cast<std::uint16_t>(i)}));
    return values;
  }();
  return table.data();
}

}  // namespace

void silu_mul(const bf16* gate, const bf16* up, std::size_t n, bf16* out) {
  const bf16* table = silu_table();
  parallel_for(static_cast<std::int64_t>(n), 1 << 14, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) out[i] = multiply(table[gate[i].bits], up[i]);
  });
}

}  // namespace fp8ref::cpu
