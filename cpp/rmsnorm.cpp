// SPDX-License-Identifier: Apache-2.0
#include "fp8ref/rmsnorm.h"

#include "fp8ref/cpu.h"
#include "parallel.h"

namespace fp8ref::cpu {
namespace {

constexpr std::int64_t kElementsPerTask = 1 << 13;

/// In float64, with several sums so that the additions overlap and become vector code.
double float64_sum_of_squares(const bf16* x, std::int64_t n) {
  constexpr int kLanes = 8;
  double sums[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const double value = widen(x[i + lane]);
      sums[lane] += value * value;
    }
  }
  for (; i < n; ++i) sums[0] += static_cast<double>(widen(x[i])) * static_cast<double>(widen(x[i]));
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}

void normalise_row(const bf16* x, const bf16* weight, std::int64_t n, float eps, bf16* out) {
  const float r = rmsnorm_scale(sum_of_squares(x, n, float64_sum_of_squares(x, n)), n, eps);
  if (weight == nullptr) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = rmsnorm_scaled(x[i], r);
  } else {
    for (std::int64_t i = 0; i < n; ++i) out[i] = rmsnorm_output(x[i], r, weight[i]);
  }
}

}  // namespace

void rmsnorm(const bf16* x, const bf16* weight, std::int64_t rows, std::int64_t cols, float eps, bf16* out) {
  parallel_for(rows, kElementsPerTask / (cols + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) normalise_row(x + i * cols, weight, cols, eps, out + i * cols);
  });
}

}  // namespace fp8ref::cpu
