// SPDX-License-Identifier: Apache-2.0
// encode and decode on a CUDA device (spec/e4m3.md): pointers to device memory, work queued on a stream.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "fp8ref/platform.h"

namespace fp8ref::cuda {

/// codes[i] = encode(x[i]). T: float, double, bf16, fp16. Returns the launch's error; n = 0 launches nothing.
template <class T>
cudaError_t encode(const T* x, std::size_t n, Overflow overflow, e4m3* codes, cudaStream_t stream);
/// x[i] = decode(codes[i]).
cudaError_t decode(const e4m3* codes, std::size_t n, float* x, cudaStream_t stream);

}  // namespace fp8ref::cuda
