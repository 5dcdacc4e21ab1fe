// SPDX-License-Identifier: Apache-2.0
#include "fp8ref/temperature.h"

#include "bind/bind.h"
#include "fp8ref/cpu.h"
#include "fp8ref/round.h"
#include "fpenv.h"

namespace {

using namespace fp8ref::bind;

void temperature_factors(In<std::int64_t> positions, double floor_scale, double attn_scale, Out<float> factors) {
  const fp8ref::cpu::FpEnv env;
  fp8ref::cpu::temperature_factors(positions.data(), static_cast<std::int64_t>(positions.size()),
                                   fp8ref::rn32(floor_scale), fp8ref::rn32(attn_scale), factors.data());
}

/// x, out: (tokens, heads, d); factors: (tokens)
void temperature(In<std::uint16_t> x, In<float> factors, Out<std::uint16_t> out) {
  fp8ref::cpu::temperature(as_bf16(x.data()), static_cast<std::int64_t>(x.shape(0)),
                           static_cast<std::int64_t>(x.shape(1) * x.shape(2)), factors.data(), as_bf16(out.data()));
}

void whole_log1p_within(In<float> n, double error, Out<float> out) {
  const fp8ref::cpu::FpEnv env;
  for (std::size_t i = 0; i < n.size(); ++i) out.data()[i] = fp8ref::whole_log1p_within(n.data()[i], error);
}

}  // namespace

void bind_temperature(nanobind::module_& m) {
  m.def("temperature_factors", &temperature_factors, Unlocked());
  m.def("temperature", &temperature, Unlocked());
  // For tests: with a large error, fixed-point arithmetic decides.
  m.def("whole_log1p_within", &whole_log1p_within, Unlocked());
}
