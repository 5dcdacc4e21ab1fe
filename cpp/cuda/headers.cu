// SPDX-License-Identifier: Apache-2.0
// The scalar headers in device code: one thread per output over the same functions as the CPU's loops. Slow and simple;
// it shows at build time that every header compiles for the device, and gives kernels something to be compared with.
#include <cstdint>

#include "fp8ref/e4m3.h"
#include "fp8ref/grouped_mm.h"
#include "fp8ref/linear.h"
#include "fp8ref/mma.h"
#include "fp8ref/mse.h"
#include "fp8ref/quantize.h"
#include "fp8ref/rule_table.h"
#include "fp8ref/scaled_mm.h"

namespace fp8ref::cuda {
namespace {

__device__ std::int64_t thread_index() { return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

template <class T>
__device__ void store(float value, T* out);
template <>
__device__ void store(float value, float* out) {
  *out = value;
}
template <>
__device__ void store(float value, bf16* out) {
  *out = rnbf(value);
}
template <>
__device__ void store(float value, fp16* out) {
  *out = rn16(value);
}

}  // namespace

/// One output per thread; scales of stride 0 or 1; bias may be null.
template <Accumulate accumulate, class A, class B, class Out>
__global__ void scaled_mm_scalar(const A* a, const B* b, std::int64_t m, std::int64_t n, std::int64_t k,
                                 const float* a_scale, std::int64_t a_stride, const float* b_scale,
                                 std::int64_t b_stride, const float* bias, Out* out) {
  const std::int64_t index = thread_index();
  if (index >= m * n) return;
  const std::int64_t i = index / n, j = index % n;
  const float value = scaled_mm_element(a + i * k, b + j * k, k, a_scale[i * a_stride], b_scale[j * b_stride],
                                        bias == nullptr ? nullptr : bias + j, accumulate);
  store(value, out + index);
}

/// One row of grouped_mm per thread and column, with scales of blocks: (rows, blocks) and (experts, n, blocks).
__global__ void grouped_mm_scalar(const e4m3* a, const e4m3* b, std::int64_t rows, std::int64_t experts, std::int64_t n,
                                  std::int64_t k, const float* a_scale, const float* b_scale,
                                  const std::int64_t* offsets, const float* bias, Epilogue epilogue, e4m3* out) {
  const std::int64_t index = thread_index();
  if (index >= rows * n) return;
  const std::int64_t i = index / n, blocks = (k + kScaleBlock - 1) / kScaleBlock;
  const std::int64_t expert = expert_of_row(offsets, experts, i);
  if (expert < 0) return;
  const std::int64_t j = expert * n + index % n;
  const float value = scaled_mm_block_element(a + i * k, b + j * k, k, a_scale + i * blocks, b_scale + j * blocks,
                                              bias + j, Accumulate::exact, epilogue);
  out[index] = encode(value, Overflow::saturate);
}

__global__ void linear_scalar(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k,
                              const float* bias, bf16* out) {
  const std::int64_t index = thread_index();
  if (index >= m * n) return;
  const std::int64_t i = index / n, j = index % n;
  out[index] = linear_element(x + i * k, w + j * k, k, bias == nullptr ? nullptr : bias + j);
}

/// The codes of one tensor by one rule, given the largest magnitude or the scale; kind: element_kind(rule).
template <class T, int kind>
__global__ void quantize_scalar(const T* x, std::int64_t n, Rule rule, float amax, float given, float upper, e4m3* out,
                                float* scale) {
  const std::int64_t i = thread_index();
  const Factors factors = rule.takes_scale() ? factors_of_given(rule, given) : factors_of_amax<T>(rule, amax, upper);
  if (i == 0) *scale = factors.scale;
  if (i < n) out[i] = element_code_of_kind<T, kind>(widen(x[i]), factors.factor);
}

/// What one element adds to the error of a range, given its code. [QUANT-MSE]
template <class T>
__global__ void mse_scalar(const T* x, const e4m3* codes, std::int64_t n, float scale, float* out) {
  const std::int64_t i = thread_index();
  if (i < n) out[i] = mse_error<T>(widen(x[i]), codes[i], scale);
}

template <class Out>
__global__ void dequantize_scalar(const e4m3* codes, std::int64_t n, float scale, Out* out) {
  const std::int64_t i = thread_index();
  if (i < n) store(dequantize(codes[i], scale), out + i);
}

/// The results of float64 dots, taken as exact, and as certified within an error.
__global__ void linear_tails(const double* dot, const double* error, const float* bias, std::int64_t n, bf16* exact,
                             Certified* certified) {
  const std::int64_t i = thread_index();
  if (i >= n) return;
  exact[i] = linear_from_exact(dot[i], bias + i);
  certified[i] = linear_from_interval(dot[i], error[i], bias + i);
}

template __global__ void scaled_mm_scalar<Accumulate::exact, e4m3, e4m3, bf16>(const e4m3*, const e4m3*, std::int64_t,
                                                                               std::int64_t, std::int64_t, const float*,
                                                                               std::int64_t, const float*, std::int64_t,
                                                                               const float*, bf16*);
template __global__ void scaled_mm_scalar<Accumulate::sm90_wgmma, e4m3, e4m3, float>(
    const e4m3*, const e4m3*, std::int64_t, std::int64_t, std::int64_t, const float*, std::int64_t, const float*,
    std::int64_t, const float*, float*);
template __global__ void scaled_mm_scalar<Accumulate::exact, e5m2, e5m2, bf16>(const e5m2*, const e5m2*, std::int64_t,
                                                                               std::int64_t, std::int64_t, const float*,
                                                                               std::int64_t, const float*, std::int64_t,
                                                                               const float*, bf16*);
template __global__ void scaled_mm_scalar<Accumulate::sm90_wgmma_promoted, e4m3, e5m2, float>(
    const e4m3*, const e5m2*, std::int64_t, std::int64_t, std::int64_t, const float*, std::int64_t, const float*,
    std::int64_t, const float*, float*);
template __global__ void quantize_scalar<float, element_kind(*find_rule("vllm.per_token"))>(const float*, std::int64_t,
                                                                                            Rule, float, float, float,
                                                                                            e4m3*, float*);
template __global__ void quantize_scalar<bf16, element_kind(*find_rule("vllm.per_token"))>(const bf16*, std::int64_t,
                                                                                           Rule, float, float, float,
                                                                                           e4m3*, float*);
template __global__ void quantize_scalar<fp16, element_kind(*find_rule("vllm.per_token"))>(const fp16*, std::int64_t,
                                                                                           Rule, float, float, float,
                                                                                           e4m3*, float*);
template __global__ void quantize_scalar<float, element_kind(*find_rule("vllm.group_128"))>(const float*, std::int64_t,
                                                                                            Rule, float, float, float,
                                                                                            e4m3*, float*);
template __global__ void quantize_scalar<bf16, element_kind(*find_rule("vllm.group_128"))>(const bf16*, std::int64_t,
                                                                                           Rule, float, float, float,
                                                                                           e4m3*, float*);
template __global__ void quantize_scalar<fp16, element_kind(*find_rule("vllm.group_128"))>(const fp16*, std::int64_t,
                                                                                           Rule, float, float, float,
                                                                                           e4m3*, float*);
template __global__ void quantize_scalar<float, element_kind(*find_rule("compressed_tensors.channel"))>(
    const float*, std::int64_t, Rule, float, float, float, e4m3*, float*);
template __global__ void quantize_scalar<bf16, element_kind(*find_rule("compressed_tensors.channel"))>(
    const bf16*, std::int64_t, Rule, float, float, float, e4m3*, float*);
template __global__ void quantize_scalar<fp16, element_kind(*find_rule("compressed_tensors.channel"))>(
    const fp16*, std::int64_t, Rule, float, float, float, e4m3*, float*);
template __global__ void quantize_scalar<float, element_kind(*find_rule("autofp8.per_tensor"))>(const float*,
                                                                                                std::int64_t, Rule,
                                                                                                float, float, float,
                                                                                                e4m3*, float*);
template __global__ void quantize_scalar<bf16, element_kind(*find_rule("autofp8.per_tensor"))>(const bf16*,
                                                                                               std::int64_t, Rule,
                                                                                               float, float, float,
                                                                                               e4m3*, float*);
template __global__ void quantize_scalar<fp16, element_kind(*find_rule("autofp8.per_tensor"))>(const fp16*,
                                                                                               std::int64_t, Rule,
                                                                                               float, float, float,
                                                                                               e4m3*, float*);
template __global__ void mse_scalar<float>(const float*, const e4m3*, std::int64_t, float, float*);
template __global__ void mse_scalar<bf16>(const bf16*, const e4m3*, std::int64_t, float, float*);
template __global__ void mse_scalar<fp16>(const fp16*, const e4m3*, std::int64_t, float, float*);
template __global__ void dequantize_scalar<bf16>(const e4m3*, std::int64_t, float, bf16*);
template __global__ void dequantize_scalar<fp16>(const e4m3*, std::int64_t, float, fp16*);

}  // namespace fp8ref::cuda
