// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda/cuda.h"

namespace {

using namespace fp8ref::bind;

/// x: (m, k); weight: (n, k); bias: (n) or 0
void linear(Address x, Address weight, std::int64_t m, std::int64_t n, std::int64_t k, Address bias,
            std::string_view accumulate, Address out, Address stream) {
  const auto *left = at<const fp8ref::bf16>(x), *right = at<const fp8ref::bf16>(weight);
  const fp8ref::Accumulate unit = accumulate_of(accumulate);
  if (unit == fp8ref::Accumulate::exact) {
    fp8ref::cuda::linear(left, right, m, n, k, at<const float>(bias), static_cast<const fp8ref::RowFacts*>(nullptr),
                         at<fp8ref::bf16>(out), stream_at(stream));
  } else {
    fp8ref::cuda::linear(left, right, m, n, k, at<const float>(bias), unit, at<fp8ref::bf16>(out), stream_at(stream));
  }
}

}  // namespace

void bind_linear(nb::module_& m) { m.def("linear", &linear, Unlocked()); }
