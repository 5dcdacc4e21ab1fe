// SPDX-License-Identifier: Apache-2.0
// The scale rules over arrays (spec/quantize.md). Maxima are taken on the bits of magnitudes: these order as the
// numbers do, a NaN lies above infinity, and an integer maximum is the same in any order.
#include "fp8ref/quantize.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "fp8ref/cpu.h"
#include "fpenv.h"
#include "output.h"
#include "parallel.h"

namespace fp8ref::cpu {
namespace {

constexpr std::int64_t kGrain = 1 << 15;
constexpr std::int32_t kInfinity = 0x7F800000;

enum class NanRule { ignore, keep };

/// The largest magnitude from 0, as bits of fp32. keep: NaN wins; ignore: NaN counts as 0.
template <NanRule rule, class T>
std::int32_t largest_magnitude(const T* x, std::int64_t n) {
  std::int32_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t magnitude = bit_cast<std::int32_t>(widen(x[i])) & 0x7FFFFFFF;
    largest = std::max(largest, rule == NanRule::ignore && magnitude > kInfinity ? 0 : magnitude);
  }
  return largest;
}

/// The same over a whole tensor; NaN wins.
template <class T>
float tensor_amax(const T* x, std::int64_t n) {
  std::atomic<std::int32_t> largest{0};
  parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
    const std::int32_t mine = largest_magnitude<NanRule::keep>(x + begin, end - begin);
    std::int32_t seen = largest.load();
    while (seen < mine && !largest.compare_exchange_weak(seen, mine)) {
    }
  });
  return bit_cast<float>(largest.load());
}

/// codes[i] = code(x[i], factor), x widened.
template <class T, class Code>
void encode_elements(const T* x, std::int64_t n, float factor, e4m3* codes, Code code) {
  for (std::int64_t i = 0; i < n; ++i) codes[i] = code(widen(x[i]), factor);
}

/// One scale per row: a scale function of the row's largest magnitude, then the codes.
template <NanRule rule, class T, class Scale, class Code>
void quantize_rows(const T* x, std::int64_t rows, std::int64_t cols, e4m3* codes, float* scales, Scale scale,
                   Code code) {
  parallel_for(rows, kGrain / (cols + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const T* source = x + row * cols;
      scales[row] = scale(bit_cast<float>(largest_magnitude<rule>(source, cols)));
      encode_elements(source, cols, scales[row], codes + row * cols, code);
    }
  });
}

/// One factor for all elements.
template <class T, class Code>
void quantize_all(const T* x, std::int64_t n, float factor, e4m3* codes, Code code) {
  parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
    encode_elements(x + begin, end - begin, factor, codes + begin, code);
  });
}

}  // namespace

template <class T>
void quantize(const T* x, std::int64_t rows, std::int64_t cols, Rule rule, e4m3* codes, float* scale) {
  const std::int64_t n = rows * cols;
  const FpEnv env;
  switch (rule) {
    case Rule::vllm_per_token:
      return quantize_rows<NanRule::ignore>(
          x, rows, cols, codes, scale, [](float amax) { return vllm_token_scale(amax); },
          [](float value, float s) { return vllm_token_code(value, s); });
    case Rule::vllm_per_tensor_static:
      return quantize_all(x, n, vllm_static_inverse(*scale), codes,
                          [](float value, float inverse) { return vllm_static_code(value, inverse); });
    case Rule::compressed_tensors_channel:
      return quantize_rows<NanRule::keep>(
          x, rows, cols, codes, scale, [](float amax) { return compressed_tensors_scale<T>(amax); },
          [](float value, float s) { return compressed_tensors_code<T>(value, s); });
    case Rule::compressed_tensors_tensor:
      *scale = compressed_tensors_scale<T>(tensor_amax(x, n));
      return quantize_all(x, n, *scale, codes,
                          [](float value, float s) { return compressed_tensors_code<T>(value, s); });
    case Rule::autofp8_per_tensor: {
      const float multiplier = autofp8_multiplier<T>(n == 0 ? kAutofp8EmptyAmax : tensor_amax(x, n));
      *scale = autofp8_scale(multiplier);
      return quantize_all(x, n, multiplier, codes,
                          [](float value, float factor) { return autofp8_code<T>(value, factor); });
    }
  }
}

template void quantize<float>(const float*, std::int64_t, std::int64_t, Rule, e4m3*, float*);
template void quantize<bf16>(const bf16*, std::int64_t, std::int64_t, Rule, e4m3*, float*);
template void quantize<fp16>(const fp16*, std::int64_t, std::int64_t, Rule, e4m3*, float*);

void dequantize(const e4m3* codes, std::int64_t rows, std::int64_t cols, const float* scale,
                std::int64_t scale_row_stride, OutDtype out_dtype, void* out) {
  parallel_for(rows, kGrain / (cols + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> values(static_cast<std::size_t>(cols));
    for (std::int64_t row = begin; row < end; ++row) {
      const float s = scale[row * scale_row_stride];
      for (std::int64_t i = 0; i < cols; ++i) {
        values[static_cast<std::size_t>(i)] = fp8ref::dequantize(codes[row * cols + i], s);
      }
      store(values.data(), cols, out_dtype, out, row * cols);
    }
  });
}

}  // namespace fp8ref::cpu
