// SPDX-License-Identifier: Apache-2.0
// Starting kernels, and what CUDA says of it. Internal.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>

#include "fp8ref/errors.h"

#if defined(FP8REF_SIMT)
#include "fpenv.h"
#endif

namespace fp8ref::cuda {

/// Throws DeviceError naming the op, unless the error is cudaSuccess.
inline void check(cudaError_t error, const char* op) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // or the next call would report it again
  throw DeviceError(std::string(op) + ": CUDA: " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")");
}

inline constexpr std::size_t kSharedWithoutAsking = 48 << 10;

/// Queues a kernel on a stream. An empty grid is no work. The arguments become the types of the kernel's parameters.
/// Under the SIMT emulator the kernel has run when this returns.
template <class... P, class... A>
void launch(const char* op, void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream,
            A&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  std::tuple<P...> values(static_cast<P>(arguments)...);
#if defined(FP8REF_SIMT)
  (void)stream;
  (void)op;
  const cpu::FpEnv env;
  simt::run(grid, block, shared, [&] { std::apply(kernel, values); });
#else
  if (shared > kSharedWithoutAsking) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)), op);
  }
  const cudaError_t error = std::apply(
      [&](auto&... value) {
        void* pointers[] = {const_cast<void*>(static_cast<const void*>(&value))..., nullptr};
        return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, block, pointers, shared, stream);
      },
      values);
  check(error, op);
#endif
}

/// Blocks of `threads` that cover n items, at most `most`: kernels go on in steps of the whole grid.
inline unsigned blocks_for(std::int64_t n, int threads, std::int64_t most = std::int64_t{1} << 20) {
  const std::int64_t blocks = (n + threads - 1) / threads;
  return static_cast<unsigned>(blocks < most ? blocks : most);
}

/// What kernels of this process may count on: the device in use.
struct DeviceFacts {
  int capability;  // 90 for sm_90
  int multiprocessors;
};
DeviceFacts device_facts();  // device.cu; asked once per device

}  // namespace fp8ref::cuda
