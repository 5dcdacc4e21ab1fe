// SPDX-License-Identifier: Apache-2.0
// rmsnorm of a row in registers, for the kernels that have it as a step. Internal.
#pragma once

#include "cuda/packed.h"
#include "cuda/rows.h"
#include "fp8ref/rmsnorm.h"

namespace fp8ref::cuda {

__device__ __forceinline__ double squares8(const Bf16x8& x, double sum) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const double a = low_value(x.pair[i]), b = high_value(x.pair[i]);
    sum = fma64(b, b, fma64(a, a, sum));
  }
  return sum;
}

/// r of a row; out of line, for the exact sum needs many registers and is hardly ever computed.
__device__ __noinline__ inline float row_scale(const bf16* x, std::int64_t n, double sum, std::int64_t additions,
                                               float eps) {
  return rmsnorm_scale(sum_of_squares_within(x, n, sum, additions), n, eps);
}

/// r of the row at x, which the team holds. The exact sum reads x again. [RMSNORM-SUM]
template <Team team>
__device__ __forceinline__ float held_row_scale(const bf16* x, const Bf16x8 (&held)[kHeld], int vectors, float eps,
                                                Scratch<double, float>& scratch) {
  constexpr int kAdditions = 8 * kHeld + 10;  // in one thread, and over the threads of a block
  double sum = 0;
  each_held<team>(vectors, [&](int j, int) { sum = squares8(held[j], sum); });
  return team_reduce<team>(
      sum, scratch, 0.0, [](double a, double b) { return add64(a, b); },
      [&](double all) { return row_scale(x, 8 * static_cast<std::int64_t>(vectors), all, kAdditions, eps); });
}

/// rmsnorm_output of 8 elements, of vector v of the row; weight may be null. NaNs are canonical.
__device__ __forceinline__ Bf16x8 normed8(Bf16x8 x, float r, const bf16* weight, int v) {
#pragma unroll
  for (std::uint32_t& pair : x.pair) pair = round2<bf16>(mul32(low_value(pair), r), mul32(high_value(pair), r));
  if (weight != nullptr) {
    const Bf16x8 w = load8(weight + 8 * static_cast<std::int64_t>(v));
#pragma unroll
    for (int i = 0; i < 4; ++i) x.pair[i] = multiply2(x.pair[i], w.pair[i]);
  }
  return canonical8(x);
}

}  // namespace fp8ref::cuda
