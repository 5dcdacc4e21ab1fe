// SPDX-License-Identifier: Apache-2.0
// The scale rules over arrays (spec/quantize.md): which elements share a scale, and the way back.
#include "fp8ref/quantize.h"

#include <algorithm>
#include <vector>

#include "fp8ref/cpu.h"
#include "fpenv.h"
#include "output.h"
#include "parallel.h"
#include "quantize_loops.h"

namespace fp8ref::cpu {
namespace {

constexpr std::int64_t kTile = 128;

/// One scale for all elements.
template <class T>
void quantize_tensor(const T* x, std::int64_t n, const Rule& rule, float upper, e4m3* codes, float* scale) {
  Factors factors;
  if (rule.takes_scale()) {
    factors = factors_of_given(rule, *scale);
  } else {
    factors = factors_of_amax<T>(rule, n == 0 ? rule.empty_amax : tensor_amax(rule.amax_nan, x, n), upper);
  }
  *scale = factors.scale;
  encode_all(encoder_of<T>(rule), x, n, factors.factor, codes);
}

/// One scale for each tile of `height` x `width` elements; tails are smaller tiles.
template <class T>
void quantize_tiles(const T* x, std::int64_t rows, std::int64_t cols, std::int64_t height, std::int64_t width,
                    const Rule& rule, float upper, e4m3* codes, float* scales) {
  const Encoder<T> encode = encoder_of<T>(rule);
  const std::int64_t down = (rows + height - 1) / height;
  const std::int64_t across = rule.granularity == Granularity::row ? 1 : (cols + width - 1) / width;
  auto tile = [&](std::int64_t top, std::int64_t left, float* scale) {
    const std::int64_t bottom = std::min(top + height, rows), n = std::min(width, cols - left);
    std::int32_t amax = 0;
    for (std::int64_t row = top; row < bottom; ++row) {
      amax = std::max(amax, largest_magnitude(rule.amax_nan, x + row * cols + left, n));
    }
    const Factors factors = factors_of_amax<T>(rule, bit_cast<float>(amax), upper);
    *scale = factors.scale;
    for (std::int64_t row = top; row < bottom; ++row) {
      const std::int64_t offset = row * cols + left;
      encode(x + offset, n, factors.factor, codes + offset);
    }
  };
  parallel_for(down, kQuantizeGrain / (height * (cols + 1)) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t j = 0; j < across; ++j) tile(i * height, j * width, scales + i * across + j);
    }
  });
}

}  // namespace

template <class T>
void quantize(const T* x, std::int64_t rows, std::int64_t cols, const Rule& rule, e4m3* codes, float* scale,
              float upper) {
  const FpEnv env;
  if (rule.search == Search::mse) return quantize_mse(x, rows, cols, rule, codes, scale);
  switch (rule.granularity) {
    case Granularity::tensor:
      return quantize_tensor(x, rows * cols, rule, upper, codes, scale);
    case Granularity::row:
      return quantize_tiles(x, rows, cols, 1, cols, rule, upper, codes, scale);
    case Granularity::group:
      return quantize_tiles(x, rows, cols, 1, kTile, rule, upper, codes, scale);
    case Granularity::block:
      return quantize_tiles(x, rows, cols, kTile, kTile, rule, upper, codes, scale);
  }
}

template void quantize<float>(const float*, std::int64_t, std::int64_t, const Rule&, e4m3*, float*, float);
template void quantize<bf16>(const bf16*, std::int64_t, std::int64_t, const Rule&, e4m3*, float*, float);
template void quantize<fp16>(const fp16*, std::int64_t, std::int64_t, const Rule&, e4m3*, float*, float);

void dequantize(const e4m3* codes, std::int64_t rows, std::int64_t cols, const TileScales& scales, OutDtype out_dtype,
                void* out) {
  const std::int64_t across = (cols + scales.tile_cols - 1) / scales.tile_cols;
  parallel_for(rows, kQuantizeGrain / (cols + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> values(static_cast<std::size_t>(cols));
    for (std::int64_t row = begin; row < end; ++row) {
      const float* scale = scales.data + row / scales.tile_rows * across;
      const e4m3* source = codes + row * cols;
      for (std::int64_t left = 0; left < cols; left += scales.tile_cols, ++scale) {
        const std::int64_t right = std::min(left + scales.tile_cols, cols);
        for (std::int64_t i = left; i < right; ++i) {
          values[static_cast<std::size_t>(i)] = fp8ref::dequantize(source[i], *scale);
        }
      }
      store(values.data(), cols, out_dtype, out, row * cols);
    }
  });
}

}  // namespace fp8ref::cpu
