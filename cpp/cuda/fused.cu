// SPDX-License-Identifier: Apache-2.0
// Two operations on rows in registers: what is between them does not go through memory, or goes only out. Rules and
// shapes without such a kernel take one operation after the other; the bits are the same.
#include <limits>

#include "cuda/quantize.h"
#include "cuda/rmsnorm.h"
#include "cuda/silu_mul.h"
#include "cuda/workspace.h"
#include "fp8ref/cuda.h"

namespace fp8ref::cuda {
namespace {

constexpr float kNoBound = std::numeric_limits<float>::infinity();

template <Team team>
__global__ void __launch_bounds__(kLargestTeam)
    rmsnorm_quantize_kernel(const bf16* x, const bf16* weight, std::int64_t rows, int vectors, float eps,
                            const __grid_constant__ Rule rule, bf16* normed, e4m3* codes, float* scales) {
  __shared__ Scratch<double, float> sums;
  __shared__ Scratch<int, Factors> maxima;
  const std::int64_t row = team_row<team>(), at = row * vectors * 8;
  if (row >= rows) return;
  Bf16x8 held[kHeld];
  each_held<team>(vectors, [&](int j, int v) { held[j] = load8(x + at + 8 * v); });
  const float r = held_row_scale<team>(x + at, held, vectors, eps, sums);
  each_held<team>(vectors, [&](int j, int v) {
    held[j] = normed8(held[j], r, weight, v);
    if (normed != nullptr) store8(held[j], normed + at + 8 * v);
  });
  quantize_held<team, bf16>(held, row, vectors, rule, kNoBound, codes, scales, maxima);
}

template <Team team>
__global__ void __launch_bounds__(kLargestTeam)
    silu_mul_quantize_kernel(const bf16* gate, const bf16* up, std::int64_t rows, int vectors,
                             const __grid_constant__ Rule rule, bf16* product, e4m3* codes, float* scales) {
  __shared__ Scratch<int, Factors> maxima;
  const std::int64_t row = team_row<team>(), at = row * vectors * 8;
  if (row >= rows) return;
  Bf16x8 held[kHeld];
  each_held<team>(vectors, [&](int j, int v) {
    held[j] = silu_mul8(load8(gate + at + 8 * v), load8(up + at + 8 * v));
    if (product != nullptr) store8(held[j], product + at + 8 * v);
  });
  quantize_held<team, bf16>(held, row, vectors, rule, kNoBound, codes, scales, maxima);
}

template <Team team>
__global__ void __launch_bounds__(kLargestTeam)
    residual_rmsnorm_kernel(const bf16* x, const bf16* y, const bf16* weight, std::int64_t rows, int vectors, float eps,
                            bf16* stream_out, bf16* normed) {
  __shared__ Scratch<double, float> sums;
  const std::int64_t row = team_row<team>(), at = row * vectors * 8;
  if (row >= rows) return;
  Bf16x8 held[kHeld];
  each_held<team>(vectors, [&](int j, int v) {
    held[j] = residual8(load8(x + at + 8 * v), load8(y + at + 8 * v));
    store8(held[j], stream_out + at + 8 * v);
  });
  const float r = held_row_scale<team>(stream_out + at, held, vectors, eps, sums);
  each_held<team>(vectors, [&](int j, int v) { store8(normed8(held[j], r, weight, v), normed + at + 8 * v); });
}

/// Whether rows are vectors that fit into registers.
template <class... P>
bool rows_held(std::int64_t cols, const P*... pointers) {
  return cols > 0 && cols % 8 == 0 && row_fits(cols / 8) && aligned(16, pointers...);
}
/// Whether quantize_held knows the rule.
bool rule_held(const Rule& rule) {
  return rule.takes_scale() ? rule.scale == ScaleOf::given
                            : rule.granularity == Granularity::row && rule.search == Search::none;
}

/// The canonical NaN in the place of another: all that is left to do for a scale that was given.
__global__ void given_scale_kernel(float* scale) { *scale = canonical(*scale); }
void finish_scale(const char* op, const Rule& rule, float* scale, cudaStream_t stream) {
  if (rule.takes_scale()) launch(op, given_scale_kernel, 1, 1, 0, stream, scale);
}

}  // namespace

void rmsnorm_quantize(const bf16* x, const bf16* weight, std::int64_t rows, std::int64_t cols, float eps,
                      const Rule& rule, bf16* normed, e4m3* codes, float* scale, Stream stream) {
  constexpr const char* kOp = "rmsnorm_quantize";
  if (!rule_held(rule) || !rows_held(cols, x, weight, normed) || !aligned(8, codes)) {
    const Workspace<bf16> between(kOp, normed == nullptr ? rows * cols : 0, stream);
    bf16* values = normed == nullptr ? between.get() : normed;
    rmsnorm(x, weight, rows, cols, eps, values, stream);
    return quantize(values, rows, cols, rule, codes, scale, kNoBound, stream);
  }
  const RowPlan plan = plan_rows(rows, cols / 8);
  launch(kOp, plan.team == Team::warp ? rmsnorm_quantize_kernel<Team::warp> : rmsnorm_quantize_kernel<Team::block>,
         plan.grid, plan.threads, 0, stream, x, weight, rows, cols / 8, eps, rule, normed, codes, scale);
  finish_scale(kOp, rule, scale, stream);
}

void silu_mul_quantize(const bf16* gate, const bf16* up, std::int64_t rows, std::int64_t cols, const Rule& rule,
                       bf16* product, e4m3* codes, float* scale, Stream stream) {
  constexpr const char* kOp = "silu_mul_quantize";
  if (!rule_held(rule) || !rows_held(cols, gate, up, product) || !aligned(8, codes)) {
    const Workspace<bf16> between(kOp, product == nullptr ? rows * cols : 0, stream);
    bf16* values = product == nullptr ? between.get() : product;
    silu_mul(gate, up, static_cast<std::size_t>(rows * cols), values, stream);
    return quantize(values, rows, cols, rule, codes, scale, kNoBound, stream);
  }
  const RowPlan plan = plan_rows(rows, cols / 8);
  launch(kOp, plan.team == Team::warp ? silu_mul_quantize_kernel<Team::warp> : silu_mul_quantize_kernel<Team::block>,
         plan.grid, plan.threads, 0, stream, gate, up, rows, cols / 8, rule, product, codes, scale);
  finish_scale(kOp, rule, scale, stream);
}

void residual_rmsnorm(const bf16* x, const bf16* y, const bf16* weight, std::int64_t rows, std::int64_t cols, float eps,
                      bf16* stream_out, bf16* normed, Stream stream) {
  constexpr const char* kOp = "residual_rmsnorm";
  if (!rows_held(cols, x, y, weight, stream_out, normed)) {
    residual(x, y, static_cast<std::size_t>(rows * cols), stream_out, stream);
    return rmsnorm(stream_out, weight, rows, cols, eps, normed, stream);
  }
  const RowPlan plan = plan_rows(rows, cols / 8);
  launch(kOp, plan.team == Team::warp ? residual_rmsnorm_kernel<Team::warp> : residual_rmsnorm_kernel<Team::block>,
         plan.grid, plan.threads, 0, stream, x, y, weight, rows, cols / 8, eps, stream_out, normed);
}

}  // namespace fp8ref::cuda
