// SPDX-License-Identifier: Apache-2.0
#include "fp8ref/rmsnorm.h"

#include <nanobind/stl/optional.h>

#include <optional>

#include "bind/bind.h"
#include "fp8ref/cpu.h"
#include "fpenv.h"

namespace {

using namespace fp8ref::bind;

/// x: (rows, cols); eps rounds to a positive fp32 number
void rmsnorm(In<std::uint16_t> x, std::optional<In<std::uint16_t>> weight, double eps, Out<std::uint16_t> out) {
  const fp8ref::cpu::FpEnv env;  // for the rounding of eps
  fp8ref::cpu::rmsnorm(as_bf16(x.data()), weight ? as_bf16(weight->data()) : nullptr,
                       static_cast<std::int64_t>(x.shape(0)), static_cast<std::int64_t>(x.shape(1)), fp8ref::rn32(eps),
                       as_bf16(out.data()));
}

void reciprocal_sqrt_within(In<float> v, double error, Out<float> out) {
  const fp8ref::cpu::FpEnv env;
  for (std::size_t i = 0; i < v.size(); ++i) out.data()[i] = fp8ref::reciprocal_sqrt_within(v.data()[i], error);
}

}  // namespace

void bind_rmsnorm(nanobind::module_& m) {
  m.def("rmsnorm", &rmsnorm, nb::arg("x"), nb::arg("weight").none(), nb::arg("eps"), nb::arg("out"), Unlocked());
  // For tests: with a large error, integers decide.
  m.def("reciprocal_sqrt_within", &reciprocal_sqrt_within, Unlocked());
}
