// SPDX-License-Identifier: Apache-2.0
// What the kernels of linear share. Internal.
#pragma once

#include "cuda/open.h"
#include "fp8ref/linear.h"

namespace fp8ref::cuda {

/// An exact problem: everything that an output needs.
struct LinearProblem {
  const bf16 *x, *w;
  std::int64_t m, n, k;
  const float* bias;  // or nullptr
  const RowFacts *x_facts, *w_facts;
  bf16* out;
  OpenOutputs open;
};

/// Writes out[i, j] for its float64 dot, or leaves it open. [LINEAR-CERTIFY]
__device__ __forceinline__ void linear_finish(const LinearProblem& p, std::int64_t i, std::int64_t j, double dot) {
  const float* bias = p.bias == nullptr ? nullptr : p.bias + j;
  const Certified result = linear_certified(dot, p.x_facts[i], p.w_facts[j], p.k, bias);
  if (result.proven) {
    p.out[i * p.n + j] = result.value;
  } else {
    leave_open(p.open, p.out, i * p.n + j);
  }
}

/// Whether rows of k bf16 can be read 16 bytes at a time.
inline bool rows_aligned(const void* rows, std::int64_t k) {
  return k % 8 == 0 && reinterpret_cast<std::uintptr_t>(rows) % 16 == 0;
}

inline constexpr std::int64_t kLinearFewRows = 8;  // of x: up to here each weight is read once, by linear_few

void linear_few(const LinearProblem& problem, cudaStream_t stream);
void linear_tile(const LinearProblem& problem, cudaStream_t stream);

/// linear by a unit, if the GPU in use has it in hardware; else false, and nothing was queued. [LINEAR-UNIT]
bool linear_in_hardware(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
                        Accumulate unit, bf16* out, cudaStream_t stream);

}  // namespace fp8ref::cuda
