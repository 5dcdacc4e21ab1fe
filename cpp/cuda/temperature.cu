// SPDX-License-Identifier: Apache-2.0
// temperature_factors and temperature on a CUDA device (spec/temperature.md). temperature moves 4 bytes per element.
#include "cuda/launch.h"
#include "cuda/packed.h"
#include "fp8ref/cuda.h"
#include "fp8ref/temperature.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void temperature_factors_kernel(const std::int64_t* positions, std::int64_t count, float floor_scale,
                                           float attn_scale, float* factors) {
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    factors[i] = temperature_factor(positions[i], floor_scale, attn_scale);
  }
}

/// A block for each token. The first 8 * vectors elements by vectors, the others one by one. [TEMPERATURE-PRODUCT]
__global__ void __launch_bounds__(kThreads) temperature_kernel(const bf16* x, std::int64_t tokens, std::int64_t width,
                                                               std::int64_t vectors, const float* factors, bf16* out) {
  for (std::int64_t token = blockIdx.x; token < tokens; token += gridDim.x) {
    const float factor = factors[token];
    const std::int64_t at = token * width;
    for (std::int64_t i = threadIdx.x; i < vectors; i += blockDim.x) {
      Bf16x8 y = load8(x + at + 8 * i);
#pragma unroll
      for (std::uint32_t& two : y.pair) {
        two = round2<bf16>(mul32(low_value(two), factor), mul32(high_value(two), factor));
      }
      store8(canonical8(y), out + at + 8 * i);
    }
    for (std::int64_t i = 8 * vectors + threadIdx.x; i < width; i += blockDim.x) {
      out[at + i] = temperature_product(x[at + i], factor);
    }
  }
}

}  // namespace

void temperature_factors(const std::int64_t* positions, std::int64_t count, float floor_scale, float attn_scale,
                         float* factors, Stream stream) {
  launch("temperature_factors", temperature_factors_kernel, blocks_for(count, kThreads), kThreads, 0, stream, positions,
         count, floor_scale, attn_scale, factors);
}

void temperature(const bf16* x, std::int64_t tokens, std::int64_t width, const float* factors, bf16* out,
                 Stream stream) {
  const std::int64_t vectors = width % 8 == 0 && aligned(16, x, out) ? width / 8 : 0;
  launch("temperature", temperature_kernel, width == 0 ? 0 : blocks_for(tokens, 1), kThreads, 0, stream, x, tokens,
         width, vectors, factors, out);
}

}  // namespace fp8ref::cuda
