// SPDX-License-Identifier: Apache-2.0
#include "bind/bind.h"
#include "fp8ref/cpu.h"

namespace {

using namespace fp8ref::bind;

/// T: the element type of the core; Bits: what Python passes for it.
template <class T, class Bits>
void encode(In<Bits> x, std::string_view overflow, Out<std::uint8_t> codes) {
  fp8ref::cpu::encode(reinterpret_cast<const T*>(x.data()), x.size(), overflow_of(overflow), as_e4m3(codes.data()));
}

}  // namespace

void bind_e4m3(nanobind::module_& m) {
  m.def("encode_float32", &encode<float, float>, Unlocked());
  m.def("encode_float64", &encode<double, double>, Unlocked());
  m.def("encode_bfloat16", &encode<fp8ref::bf16, std::uint16_t>, Unlocked());
  m.def("encode_float16", &encode<fp8ref::fp16, std::uint16_t>, Unlocked());
  m.def(
      "decode",
      [](In<std::uint8_t> codes, Out<float> x) { fp8ref::cpu::decode(as_e4m3(codes.data()), codes.size(), x.data()); },
      Unlocked());
}
