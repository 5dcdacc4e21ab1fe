// SPDX-License-Identifier: Apache-2.0
// encode and decode on a CUDA device: the shared scalar functions over a grid-stride loop (spec/e4m3.md).
#include "cuda/device.h"
#include "cuda/launch.h"
#include "fp8ref/cuda.h"
#include "fp8ref/e4m3.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256;

template <Overflow overflow, class T>
__global__ void encode_kernel(const T* x, std::int64_t n, e4m3* codes) {
  for (std::int64_t i = grid_thread(); i < n; i += grid_threads()) codes[i] = fp8ref::encode(x[i], overflow);
}

__global__ void decode_kernel(const e4m3* codes, std::int64_t n, float* x) {
  for (std::int64_t i = grid_thread(); i < n; i += grid_threads()) x[i] = fp8ref::decode(codes[i]);
}

}  // namespace

template <class T>
void encode(const T* x, std::size_t n, Overflow overflow, e4m3* codes, Stream stream) {
  const auto count = static_cast<std::int64_t>(n);
  launch("encode", overflow == Overflow::nan ? encode_kernel<Overflow::nan, T> : encode_kernel<Overflow::saturate, T>,
         blocks_for(count, kThreads), kThreads, 0, stream, x, count, codes);
}

template void encode<float>(const float*, std::size_t, Overflow, e4m3*, Stream);
template void encode<double>(const double*, std::size_t, Overflow, e4m3*, Stream);
template void encode<bf16>(const bf16*, std::size_t, Overflow, e4m3*, Stream);
template void encode<fp16>(const fp16*, std::size_t, Overflow, e4m3*, Stream);

void decode(const e4m3* codes, std::size_t n, float* x, Stream stream) {
  const auto count = static_cast<std::int64_t>(n);
  launch("decode", decode_kernel, blocks_for(count, kThreads), kThreads, 0, stream, codes, count, x);
}

}  // namespace fp8ref::cuda
