// SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/optional.h>

#include <optional>

#include "bind/bind.h"
#include "fp8ref/cpu.h"

namespace {

using namespace fp8ref::bind;

void linear(In<std::uint16_t> x, In<std::uint16_t> weight, std::optional<In<float>> bias, Out<std::uint16_t> out,
            std::string_view accumulate) {
  const auto m = static_cast<std::int64_t>(x.shape(0)), n = static_cast<std::int64_t>(weight.shape(0));
  const auto k = static_cast<std::int64_t>(x.shape(1));
  const float* offset = bias ? bias->data() : nullptr;
  const fp8ref::Accumulate name = accumulate_of(accumulate);
  if (name == fp8ref::Accumulate::exact) {
    fp8ref::cpu::linear(as_bf16(x.data()), as_bf16(weight.data()), m, n, k, offset, nullptr, as_bf16(out.data()));
  } else {
    fp8ref::cpu::linear(as_bf16(x.data()), as_bf16(weight.data()), m, n, k, offset, name, as_bf16(out.data()));
  }
}

}  // namespace

void bind_linear(nanobind::module_& m) {
  m.def("linear", &linear, nb::arg("x"), nb::arg("weight"), nb::arg("bias").none(), nb::arg("out"),
        nb::arg("accumulate"), Unlocked());
}
