// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda/cuda.h"

namespace {

using namespace fp8ref::bind;

void silu_mul(Address gate, Address up, std::size_t n, Address out, Address stream) {
  fp8ref::cuda::silu_mul(at<const fp8ref::bf16>(gate), at<const fp8ref::bf16>(up), n, at<fp8ref::bf16>(out),
                         stream_at(stream));
}

}  // namespace

void bind_silu_mul(nb::module_& m) { m.def("silu_mul", &silu_mul, Unlocked()); }
