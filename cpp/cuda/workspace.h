// SPDX-License-Identifier: Apache-2.0
// Temporary device memory, in the order of a stream: it may be given back while kernels that use it are still queued.
// Internal.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "cuda/launch.h"

namespace fp8ref::cuda {

template <class T>
class Workspace {
 public:
  Workspace(const char* op, std::int64_t count, cudaStream_t stream) : stream_(stream) {
    const auto bytes = static_cast<std::size_t>(count < 1 ? 1 : count) * sizeof(T);
    const cudaError_t error = cudaMallocAsync(reinterpret_cast<void**>(&data_), bytes, stream);
    if (error != cudaSuccess) check(error, (std::string(op) + ": " + std::to_string(bytes) + " bytes").c_str());
  }
  ~Workspace() { cudaFreeAsync(data_, stream_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  T* get() const { return data_; }

 private:
  T* data_ = nullptr;
  cudaStream_t stream_;
};

}  // namespace fp8ref::cuda
