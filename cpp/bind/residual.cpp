// SPDX-License-Identifier: Apache-2.0
#include "bind/bind.h"
#include "fp8ref/cpu.h"

namespace {

using namespace fp8ref::bind;

void residual(In<std::uint16_t> x, In<std::uint16_t> y, Out<std::uint16_t> out) {
  fp8ref::cpu::residual(as_bf16(x.data()), as_bf16(y.data()), x.size(), as_bf16(out.data()));
}

void gated_residual(In<std::uint16_t> x, In<std::uint16_t> y, In<std::uint16_t> gate, Out<std::uint16_t> out) {
  fp8ref::cpu::gated_residual(as_bf16(x.data()), as_bf16(y.data()), as_bf16(gate.data()), x.size(),
                              as_bf16(out.data()));
}

}  // namespace

void bind_residual(nanobind::module_& m) {
  m.def("residual", &residual, Unlocked());
  m.def("gated_residual", &gated_residual, Unlocked());
}
