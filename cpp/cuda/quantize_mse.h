// SPDX-License-Identifier: Apache-2.0
// Rules that search for the scale (quantize_mse.cu). Internal.
#pragma once

#include <cuda_runtime.h>

#include "fp8ref/rules.h"

namespace fp8ref::cuda {

template <class T>
void quantize_mse(const T* x, std::int64_t rows, std::int64_t cols, const Rule& rule, e4m3* codes, float* scale,
                  cudaStream_t stream);

}  // namespace fp8ref::cuda
