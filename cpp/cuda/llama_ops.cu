// SPDX-License-Identifier: Apache-2.0
// The scalar headers of the Llama operations in device code, slow and simple; see headers.cu.
#include <cmath>
#include <cstdint>

#include "fp8ref/attention.h"

namespace fp8ref::cuda {
namespace {

__device__ std::int64_t thread_index() { return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

}  // namespace

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

}  // namespace fp8ref::cuda
