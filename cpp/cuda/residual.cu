// SPDX-License-Identifier: Apache-2.0
// residual and gated_residual on a CUDA device (spec/residual.md): 6 bytes of memory traffic per element.
#include "cuda/launch.h"
#include "cuda/packed.h"
#include "fp8ref/cuda.h"
#include "fp8ref/residual.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256;

/// The first 8 * vectors elements by vectors, the others one by one.
__global__ void __launch_bounds__(kThreads)
    residual_kernel(const bf16* x, const bf16* y, std::int64_t n, std::int64_t vectors, bf16* out) {
  for (std::int64_t i = grid_thread(); i < vectors; i += grid_threads()) {
    store8(residual8(load8(x + 8 * i), load8(y + 8 * i)), out + 8 * i);
  }
  for (std::int64_t i = 8 * vectors + grid_thread(); i < n; i += grid_threads()) {
    out[i] = fp8ref::residual(x[i], y[i]);
  }
}

/// The same of y times tanh(gate), which one thread of each block computes. [RESIDUAL-GATED]
__global__ void __launch_bounds__(kThreads) gated_residual_kernel(const bf16* x, const bf16* y, const bf16* gate,
                                                                  std::int64_t n, std::int64_t vectors, bf16* out) {
  __shared__ bf16 shared;
  if (threadIdx.x == 0) shared = gate_tanh(*gate);
  __syncthreads();
  const bf16 factor = shared;
  for (std::int64_t i = grid_thread(); i < vectors; i += grid_threads()) {
    Bf16x8 weighed = load8(y + 8 * i);
#pragma unroll
    for (std::uint32_t& two : weighed.pair) two = multiply2(pair_of(factor, factor), two);
    store8(residual8(load8(x + 8 * i), weighed), out + 8 * i);
  }
  for (std::int64_t i = 8 * vectors + grid_thread(); i < n; i += grid_threads()) {
    out[i] = fp8ref::gated_residual(x[i], y[i], factor);
  }
}

}  // namespace

void residual(const bf16* x, const bf16* y, std::size_t n, bf16* out, Stream stream) {
  const auto count = static_cast<std::int64_t>(n);
  const std::int64_t vectors = aligned(16, x, y, out) ? count / 8 : 0;
  const std::int64_t rest = count - 8 * vectors;
  launch("residual", residual_kernel, blocks_for(vectors > rest ? vectors : rest, kThreads), kThreads, 0, stream, x, y,
         count, vectors, out);
}

void gated_residual(const bf16* x, const bf16* y, const bf16* gate, std::size_t n, bf16* out, Stream stream) {
  const auto count = static_cast<std::int64_t>(n);
  const std::int64_t vectors = aligned(16, x, y, out) ? count / 8 : 0;
  const std::int64_t rest = count - 8 * vectors, most = 8 * device_facts().multiprocessors;
  launch("gated_residual", gated_residual_kernel, blocks_for(vectors > rest ? vectors : rest, kThreads, most), kThreads,
         0, stream, x, y, gate, count, vectors, out);
}

}  // namespace fp8ref::cuda
