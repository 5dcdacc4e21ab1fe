// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda/cuda.h"

namespace {

using namespace fp8ref::bind;

/// x: (rows, cols); upper: one value in host memory, Inf where there is none (as an array: its bits arrive as they are,
/// whatever the caller's environment does to subnormals).
template <class T>
void quantize(Address x, std::int64_t rows, std::int64_t cols, std::string_view rule, Address codes, Address scale,
              In<float> upper, Address stream) {
  fp8ref::cuda::quantize(at<const T>(x), rows, cols, rule_of(rule), at<fp8ref::e4m3>(codes), at<float>(scale),
                         *upper.data(), stream_at(stream));
}

/// codes: (rows, cols), in tiles of tile_rows x tile_cols that share a scale.
void dequantize(Address codes, std::int64_t rows, std::int64_t cols, Address scale, std::int64_t tile_rows,
                std::int64_t tile_cols, std::string_view out_dtype, Address out, Address stream) {
  fp8ref::cuda::dequantize(at<const fp8ref::e4m3>(codes), rows, cols, {at<const float>(scale), tile_rows, tile_cols},
                           out_dtype_of(out_dtype), at<void>(out), stream_at(stream));
}

}  // namespace

void bind_quantize(nb::module_& m) {
  m.def("quantize_float32", &quantize<float>, Unlocked());
  m.def("quantize_bfloat16", &quantize<fp8ref::bf16>, Unlocked());
  m.def("quantize_float16", &quantize<fp8ref::fp16>, Unlocked());
  m.def("dequantize", &dequantize, Unlocked());
}
