// SPDX-License-Identifier: Apache-2.0
// What kernels use of the hardware beyond plain CUDA C++: shared memory, warp reductions, tensor cores. Internal.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "fp8ref/platform.h"

namespace fp8ref::cuda {

__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x & 31); }  // blocks have one dimension
__device__ __forceinline__ int warp_index() { return static_cast<int>(threadIdx.x >> 5); }

/// The first item of this thread in a loop over items in steps of the grid, and the step.
__device__ __forceinline__ std::int64_t grid_thread() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ std::int64_t grid_threads() { return static_cast<std::int64_t>(gridDim.x) * blockDim.x; }

/// Dynamic shared memory, aligned to 16 bytes.
template <class T>
__device__ __forceinline__ T* shared_memory() {
#if defined(FP8REF_SIMT)
  return static_cast<T*>(simt::shared_memory());
#else
  extern __shared__ __align__(16) unsigned char fp8ref_shared[];
  return reinterpret_cast<T*>(fp8ref_shared);
#endif
}

/// The bytes at an address that is aligned for T, whatever was stored there.
template <class T>
__device__ __forceinline__ T load_as(const void* address) {
#if defined(FP8REF_SIMT)
  T value;
  std::memcpy(&value, address, sizeof value);
  return value;
#else
  return *static_cast<const T*>(address);
#endif
}

/// combine(...) of the values of all lanes, in every lane; combine is associative and commutative on them.
template <class T, class Combine>
__device__ __forceinline__ T warp_reduce(T value, const Combine& combine) {
  for (int mask = 16; mask > 0; mask /= 2) value = combine(value, __shfl_xor_sync(0xFFFFFFFF, value, mask));
  return value;
}

/// The same over a block of up to 1024 threads, in every thread. scratch: 32 values in shared memory.
template <class T, class Combine>
__device__ __forceinline__ T block_reduce(T value, T* scratch, const Combine& combine) {
  value = warp_reduce(value, combine);
  __syncthreads();  // an earlier use of scratch may still be read
  if (lane_index() == 0) scratch[warp_index()] = value;
  __syncthreads();
  const int warps = static_cast<int>((blockDim.x + 31) / 32);
  T result = scratch[0];
  for (int i = 1; i < warps; ++i) result = combine(result, scratch[i]);
  return result;
}

/// a * b + c in fp32, rounded toward zero once.
__device__ __forceinline__ float fma_toward_zero(float a, float b, float c);
__device__ __forceinline__ double fma_toward_zero(double a, double b, double c);

}  // namespace fp8ref::cuda

#if defined(FP8REF_SIMT)
#include "cuda/tensor_core_simt.h"
#else
#include "cuda/tensor_core_ptx.h"
#endif
