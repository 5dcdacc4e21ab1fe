// SPDX-License-Identifier: Apache-2.0
// The scalar headers in device code: one thread per output over the same functions as the CPU's loops. Slow and simple;
// it shows at build time that every header compiles for the device, and gives kernels something to be compared with.
#include <cstdint>

#include "fp8ref/e4m3.h"
#include "fp8ref/grouped_mm.h"
#include "fp8ref/linear.h"
#include "fp8ref/mma.h"
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

__global__ void linear_unit_scalar(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k,
                                   const float* bias, Accumulate unit, bf16* out) {
  const std::int64_t index = thread_index();
  if (index >= m * n) return;
  const std::int64_t i = index / n, j = index % n;
  out[index] = linear_element(x + i * k, w + j * k, k, bias == nullptr ? nullptr : bias + j, unit);
}

/// One chain over k per thread, from the elements of out, by a unit that has such operands and results.
template <class A, class B, class Register>
__global__ void mma_scalar(const A* a, const B* b, std::int64_t m, std::int64_t n, std::int64_t k, TensorCore core,
                           Register* out) {
  const std::int64_t index = thread_index();
  if (index >= m * n) return;
  out[index] = tensor_core_chain(core, a + index / n * k, b + index % n * k, k, out[index]);
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
template __global__ void mma_scalar<e4m3, e4m3, float>(const e4m3*, const e4m3*, std::int64_t, std::int64_t,
                                                       std::int64_t, TensorCore, float*);
template __global__ void mma_scalar<e5m2, e4m3, float>(const e5m2*, const e4m3*, std::int64_t, std::int64_t,
                                                       std::int64_t, TensorCore, float*);
template __global__ void mma_scalar<e4m3, e4m3, fp16>(const e4m3*, const e4m3*, std::int64_t, std::int64_t,
                                                      std::int64_t, TensorCore, fp16*);
template __global__ void mma_scalar<e5m2, e5m2, fp16>(const e5m2*, const e5m2*, std::int64_t, std::int64_t,
                                                      std::int64_t, TensorCore, fp16*);
template __global__ void mma_scalar<bf16, bf16, float>(const bf16*, const bf16*, std::int64_t, std::int64_t,
                                                       std::int64_t, TensorCore, float*);
template __global__ void mma_scalar<fp16, fp16, float>(const fp16*, const fp16*, std::int64_t, std::int64_t,
                                                       std::int64_t, TensorCore, float*);
template __global__ void mma_scalar<fp16, fp16, fp16>(const fp16*, const fp16*, std::int64_t, std::int64_t,
                                                      std::int64_t, TensorCore, fp16*);
}  // namespace fp8ref::cuda
