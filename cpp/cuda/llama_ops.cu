// SPDX-License-Identifier: Apache-2.0
// The scalar headers of the Llama operations in device code, slow and simple; see headers.cu.
#include <cmath>
#include <cstdint>

#include "fp8ref/attention.h"
#include "fp8ref/attention_unit.h"
#include "fp8ref/residual.h"
#include "fp8ref/rmsnorm.h"
#include "fp8ref/rope.h"
#include "fp8ref/sample.h"
#include "fp8ref/silu_mul.h"

namespace fp8ref::cuda {
namespace {

__device__ std::int64_t thread_index() { return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

}  // namespace

/// One row per thread; weight may be null.
__global__ void rmsnorm_scalar(const bf16* x, const bf16* weight, std::int64_t rows, std::int64_t cols, float eps,
                               bf16* out) {
  const std::int64_t row = thread_index();
  if (row >= rows) return;
  const bf16* values = x + row * cols;
  double sum = 0;
  for (std::int64_t i = 0; i < cols; ++i) {
    const double value = widen(values[i]);
    sum = fma64(value, value, sum);
  }
  const float r = rmsnorm_scale(sum_of_squares(values, cols, sum), cols, eps);
  for (std::int64_t i = 0; i < cols; ++i) {
    out[row * cols + i] = weight == nullptr ? rmsnorm_scaled(values[i], r) : rmsnorm_output(values[i], r, weight[i]);
  }
}

/// One angle per thread.
__global__ void rope_table_scalar(const std::int64_t* positions, std::int64_t count, const float* inv,
                                  std::int64_t half, float* cos, float* sin) {
  const std::int64_t i = thread_index();
  if (i >= count * half) return;
  const CosSin value = cos_sin(rope_angle(positions[i / half], inv[i % half]));
  cos[i] = value.cos;
  sin[i] = value.sin;
}

/// One pair per thread, in place.
__global__ void rope_scalar(bf16* x, std::int64_t tokens, std::int64_t heads, std::int64_t half, const float* cos,
                            const float* sin) {
  const std::int64_t i = thread_index();
  if (i >= tokens * heads * half) return;
  const std::int64_t token = i / (heads * half), pair = i % half;
  bf16* first = x + i / half * 2 * half + pair;
  rope_rotate(rnbf(cos[token * half + pair]), rnbf(sin[token * half + pair]), first[0], first[half]);
}

/// One row per thread over the keys of one head, all visible; exponent and significand: (rows, keys), written.
__global__ void attention_scalar(const bf16* q, const bf16* k, const bf16* v, std::int64_t rows, std::int64_t keys,
                                 std::int64_t d, float c, float* exponent, std::uint8_t* significand, bf16* out) {
  const std::int64_t row = thread_index();
  if (row >= rows) return;
  const AttentionColumn first{exponent + row * keys, significand + row * keys, v, d, keys};
  bool broken = false;
  for (std::int64_t j = 0; j < keys; ++j) {
    const Weight weight = attention_weight_exact(q + row * d, k + j * d, d, c);
    exponent[row * keys + j] = weight.exponent;
    significand[row * keys + j] = static_cast<std::uint8_t>(weight.significand);
    broken = broken || weight.exponent == INFINITY;
  }
  for (std::int64_t i = 0; i < d; ++i) {
    AttentionColumn column = first;
    column.v = v + i;
    out[row * d + i] = broken ? bf16{kNanBf16} : attention_output(column);
  }
}

/// What proves weights and outputs without the exact path.
__global__ void attention_certificates(const double* dot, const double* error, float c, const double* numerator,
                                       const double* denominator, const double* largest, std::int64_t keys,
                                       std::int64_t n, CertifiedWeight* weights, CertifiedOutput* outputs) {
  const std::int64_t i = thread_index();
  if (i >= n) return;
  weights[i] = attention_weight_within(dot[i], error[i], c);
  outputs[i] = attention_within(numerator[i], denominator[i], largest[i], keys);
}

__global__ void attention_factors(const double* scale, const std::int64_t* head_dim, std::int64_t n, float* given,
                                  float* standard) {
  const std::int64_t i = thread_index();
  if (i >= n) return;
  given[i] = attention_factor(scale[i]);
  standard[i] = attention_default_factor(head_dim[i]);
}

__device__ void merge_into(float& top, float& sum, float other_top, float other_sum) {
  const float both = other_top > top ? other_top : top;
  sum = attention_merge(sum, attention_merge_factor(top, both), other_sum, attention_merge_factor(other_top, both));
  top = both;
}

/// One sum of a row per thread (column d: the denominator), over the keys of one head, all visible; `top` and `sums`,
/// (rows, d + 1), are the states of the rows.
__global__ void attention_unit_scalar(const bf16* q, const bf16* k, const bf16* v, std::int64_t rows, std::int64_t keys,
                                      std::int64_t d, float c, float* top, float* sums) {
  const std::int64_t row = thread_index() / (d + 1), column = thread_index() % (d + 1);
  if (row >= rows) return;
  const TensorCore core = tensor_core(Accumulate::sm90_wgmma, OperandClass::bf16, OutDtype::float32);
  const bf16 one{0x3F80};
  float row_top = -INFINITY, row_sum = 0, part_top = -INFINITY, part_sum = 0;
  for (std::int64_t from = 0; from < keys; from += kAttentionBlock) {
    const int count = static_cast<int>(keys - from < kAttentionBlock ? keys - from : kAttentionBlock);
    float t[kAttentionBlock], largest = -INFINITY;
    bf16 weights[kAttentionBlock];
    for (int j = 0; j < count; ++j) {
      t[j] = attention_unit_exponent(core, q + row * d, k + (from + j) * d, d, c);
      largest = t[j] > largest ? t[j] : largest;
    }
    const float block = attention_top(largest);
    for (int j = 0; j < count; ++j) weights[j] = attention_unit_weight(attention_weight(t[j]), block);
    const bool last = column == d;
    const float sum = attention_unit_sum(core, weights, t, last ? &one : v + from * d + column, last ? 0 : d, count);
    merge_into(part_top, part_sum, block, sum);
    if ((from + kAttentionBlock) % kAttentionSuperblock != 0 && from + kAttentionBlock < keys) continue;
    merge_into(row_top, row_sum, part_top, part_sum);
    part_top = -INFINITY;
    part_sum = 0;
  }
  if (column == d) top[row] = row_top;
  sums[row * (d + 1) + column] = row_sum;
}

__global__ void attention_unit_outputs(const float* sums, std::int64_t rows, std::int64_t d, bf16* out) {
  const std::int64_t i = thread_index();
  if (i >= rows * d) return;
  const float* row = sums + i / d * (d + 1);
  out[i] = attention_unit_output(row[i % d], row[d]);
}

__global__ void silu_mul_scalar(const bf16* gate, const bf16* up, std::int64_t n, bf16* out) {
  const std::int64_t i = thread_index();
  if (i < n) out[i] = silu_mul(gate[i], up[i]);
}

__global__ void residual_scalar(const bf16* x, const bf16* y, std::int64_t n, bf16* out) {
  const std::int64_t i = thread_index();
  if (i < n) out[i] = residual(x[i], y[i]);
}

/// One row per thread.
__global__ void sample_scalar(const float* logits, std::int64_t rows, std::int64_t vocab, std::int64_t* ids) {
  const std::int64_t row = thread_index();
  if (row < rows) ids[row] = greedy(logits + row * vocab, vocab);
}

}  // namespace fp8ref::cuda
