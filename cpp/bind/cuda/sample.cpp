// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda/cuda.h"

namespace {

using namespace fp8ref::bind;

/// logits: (rows, vocab)
void sample(Address logits, std::int64_t rows, std::int64_t vocab, Address ids, Address stream) {
  fp8ref::cuda::sample(at<const float>(logits), rows, vocab, at<std::int64_t>(ids), stream_at(stream));
}

}  // namespace

void bind_sample(nb::module_& m) { m.def("sample", &sample, Unlocked()); }
