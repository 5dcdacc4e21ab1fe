// SPDX-License-Identifier: Apache-2.0
#include "fp8ref/temperature.h"

#include "fp8ref/cpu.h"
#include "parallel.h"

namespace fp8ref::cpu {
namespace {

constexpr std::int64_t kFactorsPerTask = 1 << 10;
constexpr std::int64_t kElementsPerTask = 1 << 14;

}  // namespace

void temperature_factors(const std::int64_t* positions, std::int64_t count, float floor_scale, float attn_scale,
                         float* factors) {
  parallel_for(count, kFactorsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) factors[i] = temperature_factor(positions[i], floor_scale, attn_scale);
  });
}

void temperature(const bf16* x, std::int64_t tokens, std::int64_t width, const float* factors, bf16* out) {
  parallel_for(tokens, kElementsPerTask / (width + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t token = begin; token < end; ++token) {
      for (std::int64_t i = token * width; i < (token + 1) * width; ++i) {
        out[i] = temperature_product(x[i], factors[token]);
      }
    }
  });
}

}  // namespace fp8ref::cpu
