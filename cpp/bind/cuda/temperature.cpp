// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda/cuda.h"
#include "fp8ref/round.h"
#include "fpenv.h"

namespace {

using namespace fp8ref::bind;

void temperature_factors(Address positions, std::int64_t count, double floor_scale, double attn_scale, Address factors,
                         Address stream) {
  const fp8ref::cpu::FpEnv env;  // for the rounding of both
  fp8ref::cuda::temperature_factors(at<const std::int64_t>(positions), count, fp8ref::rn32(floor_scale),
                                    fp8ref::rn32(attn_scale), at<float>(factors), stream_at(stream));
}

/// x, out: (tokens, width); factors: (tokens,)
void temperature(Address x, std::int64_t tokens, std::int64_t width, Address factors, Address out, Address stream) {
  fp8ref::cuda::temperature(at<const fp8ref::bf16>(x), tokens, width, at<const float>(factors), at<fp8ref::bf16>(out),
                            stream_at(stream));
}

}  // namespace

void bind_temperature(nb::module_& m) {
  m.def("temperature_factors", &temperature_factors, Unlocked());
  m.def("temperature", &temperature, Unlocked());
}
