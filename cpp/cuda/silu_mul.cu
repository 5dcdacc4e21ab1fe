// SPDX-License-Identifier: Apache-2.0
// silu_mul on a CUDA device (spec/silu_mul.md): 6 bytes of memory traffic per element.
#include "cuda/launch.h"
#include "cuda/silu_mul.h"
#include "fp8ref/cuda.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256;

/// The first 8 * vectors elements by vectors, the others one by one.
__global__ void __launch_bounds__(kThreads, 5)
    silu_mul_kernel(const bf16* gate, const bf16* up, std::int64_t n, std::int64_t vectors, bf16* out) {
  for (std::int64_t i = grid_thread(); i < vectors; i += grid_threads()) {
    store8(silu_mul8(load8(gate + 8 * i), load8(up + 8 * i)), out + 8 * i);
  }
  for (std::int64_t i = 8 * vectors + grid_thread(); i < n; i += grid_threads()) {
    out[i] = multiply(silu_bf16(gate[i]), up[i]);
  }
}

}  // namespace

void silu_mul(const bf16* gate, const bf16* up, std::size_t n, bf16* out, Stream stream) {
  const auto count = static_cast<std::int64_t>(n);
  const std::int64_t vectors = aligned(16, gate, up, out) ? count / 8 : 0;
  const std::int64_t rest = count - 8 * vectors;
  launch("silu_mul", silu_mul_kernel, blocks_for(vectors > rest ? vectors : rest, kThreads), kThreads, 0, stream, gate,
         up, count, vectors, out);
}

}  // namespace fp8ref::cuda
