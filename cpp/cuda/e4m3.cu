// SPDX-License-Identifier: Apache-2.0
// encode and decode on a CUDA device: one thread per element of a grid-stride loop over the shared scalar functions.
#include <algorithm>

#include "cuda/e4m3.h"
#include "fp8ref/e4m3.h"

namespace fp8ref::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::size_t kMostBlocks = 1 << 16;

unsigned blocks_for(std::size_t n) {
  return static_cast<unsigned>(std::min((n + kThreads - 1) / kThreads, kMostBlocks));
}

template <Overflow overflow, class T>
__global__ void encode_kernel(const T* x, std::size_t n, e4m3* codes) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    codes[i] = fp8ref::encode(x[i], overflow);
  }
}

__global__ void decode_kernel(const e4m3* codes, std::size_t n, float* x) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    x[i] = fp8ref::decode(codes[i]);
  }
}

}  // namespace

template <class T>
cudaError_t encode(const T* x, std::size_t n, Overflow overflow, e4m3* codes, cudaStream_t stream) {
  if (n == 0) return cudaSuccess;
  if (overflow == Overflow::nan) {
    encode_kernel<Overflow::nan><<<blocks_for(n), kThreads, 0, stream>>>(x, n, codes);
  } else {
    encode_kernel<Overflow::saturate><<<blocks_for(n), kThreads, 0, stream>>>(x, n, codes);
  }
  return cudaGetLastError();
}

template cudaError_t encode<float>(const float*, std::size_t, Overflow, e4m3*, cudaStream_t);
template cudaError_t encode<double>(const double*, std::size_t, Overflow, e4m3*, cudaStream_t);
template cudaError_t encode<bf16>(const bf16*, std::size_t, Overflow, e4m3*, cudaStream_t);
template cudaError_t encode<fp16>(const fp16*, std::size_t, Overflow, e4m3*, cudaStream_t);

cudaError_t decode(const e4m3* codes, std::size_t n, float* x, cudaStream_t stream) {
  if (n == 0) return cudaSuccess;
  decode_kernel<<<blocks_for(n), kThreads, 0, stream>>>(codes, n, x);
  return cudaGetLastError();
}

}  // namespace fp8ref::cuda
