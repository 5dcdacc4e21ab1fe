// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda/cuda.h"

namespace {

using namespace fp8ref::bind;

void residual(Address x, Address y, std::size_t n, Address out, Address stream) {
  fp8ref::cuda::residual(at<const fp8ref::bf16>(x), at<const fp8ref::bf16>(y), n, at<fp8ref::bf16>(out),
                         stream_at(stream));
}

void gated_residual(Address x, Address y, Address gate, std::size_t n, Address out, Address stream) {
  fp8ref::cuda::gated_residual(at<const fp8ref::bf16>(x), at<const fp8ref::bf16>(y), at<const fp8ref::bf16>(gate), n,
                               at<fp8ref::bf16>(out), stream_at(stream));
}

}  // namespace

void bind_residual(nb::module_& m) {
  m.def("residual", &residual, Unlocked());
  m.def("gated_residual", &gated_residual, Unlocked());
}
