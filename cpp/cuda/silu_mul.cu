// SPDX-License-Identifier: Apache-2.0
// silu_mul on a CUDA device (spec/silu_mul.md): 6 bytes of memory traffic per element.
#include "cuda/launch.h"
#include "cuda/packed.h"
#include "fp8ref/cuda.h"
#include "fp8ref/silu_mul.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256;

/// The first 8 * vectors elements by vectors, the others one by one.
__global__ void __launch_bounds__(kThreads)
    silu_mul_kernel(const bf16* gate, const bf16* up, std::int64_t n, std::int64_t vectors, bf16* out) {
  for (std::int64_t i = grid_thread(); i < vectors; i += grid_threads()) {
    const Vector<bf16, 8> g = load<8>(gate + 8 * i), u = load<8>(up + 8 * i);
    Vector<bf16, 8> y;
#pragma unroll
    for (int j = 0; j < 8; ++j) y.item[j] = fp8ref::silu_mul(g.item[j], u.item[j]);
    store(y, out + 8 * i);
  }
  for (std::int64_t i = 8 * vectors + grid_thread(); i < n; i += grid_threads()) {
    out[i] = fp8ref::silu_mul(gate[i], up[i]);
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
