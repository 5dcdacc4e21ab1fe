// SPDX-License-Identifier: Apache-2.0
// residual on a CUDA device (spec/residual.md).
#include "cuda/device.h"
#include "cuda/launch.h"
#include "fp8ref/cuda.h"
#include "fp8ref/residual.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void residual_kernel(const bf16* x, const bf16* y, std::int64_t n, bf16* out) {
  for (std::int64_t i = grid_thread(); i < n; i += grid_threads()) out[i] = fp8ref::residual(x[i], y[i]);
}

}  // namespace

void residual(const bf16* x, const bf16* y, std::size_t n, bf16* out, Stream stream) {
  const auto count = static_cast<std::int64_t>(n);
  launch("residual", residual_kernel, blocks_for(count, kThreads), kThreads, 0, stream, x, y, count, out);
}

}  // namespace fp8ref::cuda
