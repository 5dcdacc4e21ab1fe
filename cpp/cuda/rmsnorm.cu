// SPDX-License-Identifier: Apache-2.0
// rmsnorm on a CUDA device (spec/rmsnorm.md): 4 bytes of memory traffic per element where a row fits into registers.
#include "cuda/rmsnorm.h"
#include "fp8ref/cuda.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256;

template <Team team>
__global__ void __launch_bounds__(kLargestTeam)
    rmsnorm_held_kernel(const bf16* x, const bf16* weight, std::int64_t rows, int vectors, float eps, bf16* out) {
  __shared__ Scratch<double, float> scratch;
  const std::int64_t row = team_row<team>(), at = row * vectors * 8;
  if (row >= rows) return;
  Bf16x8 held[kHeld];
  each_held<team>(vectors, [&](int j, int v) { held[j] = load8(x + at + 8 * v); });
  const float r = held_row_scale<team>(x + at, held, vectors, eps, scratch);
  each_held<team>(vectors, [&](int j, int v) { store8(normed8(held[j], r, weight, v), out + at + 8 * v); });
}

/// Rows of any length and alignment: a block reads its row twice, element by element.
__global__ void rmsnorm_kernel(const bf16* x, const bf16* weight, std::int64_t cols, float eps, bf16* out) {
  __shared__ Scratch<double, float> scratch;
  const std::int64_t at = blockIdx.x * cols, first = threadIdx.x;
  double sum = 0;
  for (std::int64_t i = first; i < cols; i += kThreads) {
    const double value = widen(x[at + i]);
    sum = fma64(value, value, sum);
  }
  const std::int64_t additions = cols / kThreads + 11;
  const float r = team_reduce<Team::block>(
      sum, scratch, 0.0, [](double a, double b) { return add64(a, b); },
      [&](double all) { return row_scale(x + at, cols, all, additions, eps); });
  for (std::int64_t i = first; i < cols; i += kThreads) {
    out[at + i] = weight == nullptr ? rmsnorm_scaled(x[at + i], r) : rmsnorm_output(x[at + i], r, weight[i]);
  }
}

}  // namespace

void rmsnorm(const bf16* x, const bf16* weight, std::int64_t rows, std::int64_t cols, float eps, bf16* out,
             Stream stream) {
  if (cols == 0) return;
  if (cols % 8 != 0 || !row_fits(cols / 8) || !aligned(16, x, weight, out)) {
    launch("rmsnorm", rmsnorm_kernel, static_cast<unsigned>(rows), kThreads, 0, stream, x, weight, cols, eps, out);
    return;
  }
  const RowPlan plan = plan_rows(rows, cols / 8);
  launch("rmsnorm", plan.team == Team::warp ? rmsnorm_held_kernel<Team::warp> : rmsnorm_held_kernel<Team::block>,
         plan.grid, plan.threads, 0, stream, x, weight, rows, cols / 8, eps, out);
}

}  // namespace fp8ref::cuda
