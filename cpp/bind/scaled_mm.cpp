// SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>

#include "bind/bind.h"
#include "fp8ref/cpu.h"
#include "kernels.h"

namespace {

using namespace fp8ref::bind;

/// A scale of shape () or (rows, 1).
fp8ref::cpu::ScaleView scale_view(const In<float>& scale) { return {scale.data(), scale.ndim() == 0 ? 0 : 1}; }

template <class Bits>
void scaled_mm(In<std::uint8_t> a, In<std::uint8_t> b, In<float> a_scale, In<float> b_scale,
               std::optional<In<float>> bias, std::string_view out_dtype, std::string_view accumulate,
               std::string_view epilogue, Out<Bits> out) {
  fp8ref::cpu::ScaledMmArgs args{};
  args.a = as_e4m3(a.data());
  args.b = as_e4m3(b.data());
  args.m = static_cast<std::int64_t>(a.shape(0));
  args.n = static_cast<std::int64_t>(b.shape(0));
  args.k = static_cast<std::int64_t>(a.shape(1));
  args.a_scale = scale_view(a_scale);
  args.b_scale = scale_view(b_scale);
  args.bias = bias ? bias->data() : nullptr;
  args.accumulate = accumulate_of(accumulate);
  args.epilogue = epilogue_of(epilogue);
  args.out_dtype = out_dtype_of(out_dtype);
  args.out = out.data();
  fp8ref::cpu::scaled_mm(args);
}

}  // namespace

void bind_scaled_mm(nanobind::module_& m) {
  m.def("scaled_mm", &scaled_mm<float>, nb::arg("a"), nb::arg("b"), nb::arg("a_scale"), nb::arg("b_scale"),
        nb::arg("bias").none(), nb::arg("out_dtype"), nb::arg("accumulate"), nb::arg("epilogue"), nb::arg("out"),
        Unlocked());
  m.def("scaled_mm", &scaled_mm<std::uint16_t>, nb::arg("a"), nb::arg("b"), nb::arg("a_scale"), nb::arg("b_scale"),
        nb::arg("bias").none(), nb::arg("out_dtype"), nb::arg("accumulate"), nb::arg("epilogue"), nb::arg("out"),
        Unlocked());
  // For tests: the instruction set in use, and another choice among those of this machine.
  m.def("isa", [] { return std::string(fp8ref::cpu::kernels().name); });
  m.def("set_isa", &fp8ref::cpu::set_isa, nb::arg("name"));
}
