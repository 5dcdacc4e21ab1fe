// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda/cuda.h"
#include "fp8ref/round.h"
#include "fpenv.h"

namespace {

using namespace fp8ref::bind;

/// x: (rows, cols); weight: (cols) or 0; eps rounds to a positive fp32 number
void rmsnorm(Address x, Address weight, std::int64_t rows, std::int64_t cols, double eps, Address out, Address stream) {
  const fp8ref::cpu::FpEnv env;  // for the rounding of eps
  fp8ref::cuda::rmsnorm(at<const fp8ref::bf16>(x), at<const fp8ref::bf16>(weight), rows, cols, fp8ref::rn32(eps),
                        at<fp8ref::bf16>(out), stream_at(stream));
}

}  // namespace

void bind_rmsnorm(nb::module_& m) { m.def("rmsnorm", &rmsnorm, Unlocked()); }
