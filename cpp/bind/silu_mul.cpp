// SPDX-License-Identifier: Apache-2.0
#include "fp8ref/silu_mul.h"

#include "bind/bind.h"
#include "fp8ref/cpu.h"
#include "fpenv.h"

namespace {

using namespace fp8ref::bind;

void silu_mul(In<std::uint16_t> gate, In<std::uint16_t> up, Out<std::uint16_t> out) {
  fp8ref::cpu::silu_mul(as_bf16(gate.data()), as_bf16(up.data()), gate.size(), as_bf16(out.data()));
}

void silu_within(In<std::uint16_t> gate, double error, Out<float> out) {
  const fp8ref::cpu::FpEnv env;
  for (std::size_t i = 0; i < gate.size(); ++i) {
    out.data()[i] = fp8ref::silu_within(as_bf16(gate.data())[i], error);
  }
}

}  // namespace

void bind_silu_mul(nanobind::module_& m) {
  m.def("silu_mul", &silu_mul, Unlocked());
  // For tests: with a large error, integers decide.
  m.def("silu_within", &silu_within, Unlocked());
}
