// SPDX-License-Identifier: Apache-2.0
#include "bind/bind.h"
#include "fp8ref/cpu.h"

namespace {

using namespace fp8ref::bind;

/// x: (rows, cols); T: the element type of the core; Bits: what Python passes for it; upper: one value, Inf where there
/// is none (as an array: its bits arrive as they are, whatever the caller's environment does to subnormals).
template <class T, class Bits>
void quantize(In<Bits> x, std::string_view rule, Out<std::uint8_t> codes, Out<float> scale, In<float> upper) {
  fp8ref::cpu::quantize(reinterpret_cast<const T*>(x.data()), static_cast<std::int64_t>(x.shape(0)),
                        static_cast<std::int64_t>(x.shape(1)), rule_of(rule), as_e4m3(codes.data()), scale.data(),
                        *upper.data());
}

/// codes: (rows, cols), in tiles of tile_rows x tile_cols that share a scale.
template <class Bits>
void dequantize(In<std::uint8_t> codes, In<float> scale, std::int64_t tile_rows, std::int64_t tile_cols,
                std::string_view out_dtype, Out<Bits> out) {
  fp8ref::cpu::dequantize(as_e4m3(codes.data()), static_cast<std::int64_t>(codes.shape(0)),
                          static_cast<std::int64_t>(codes.shape(1)), {scale.data(), tile_rows, tile_cols},
                          out_dtype_of(out_dtype), out.data());
}

}  // namespace

void bind_quantize(nanobind::module_& m) {
  m.def("quantize_float32", &quantize<float, float>, Unlocked());
  m.def("quantize_bfloat16", &quantize<fp8ref::bf16, std::uint16_t>, Unlocked());
  m.def("quantize_float16", &quantize<fp8ref::fp16, std::uint16_t>, Unlocked());
  m.def("dequantize", &dequantize<float>, Unlocked());
  m.def("dequantize", &dequantize<std::uint16_t>, Unlocked());
}
