// SPDX-License-Identifier: Apache-2.0
#include "bind/bind.h"
#include "fp8ref/cpu.h"

namespace {

using namespace fp8ref::bind;

/// logits: (rows, vocab)
void sample(In<float> logits, Out<std::int64_t> ids) {
  fp8ref::cpu::sample(logits.data(), static_cast<std::int64_t>(logits.shape(0)),
                      static_cast<std::int64_t>(logits.shape(1)), ids.data());
}

}  // namespace

void bind_sample(nanobind::module_& m) { m.def("sample", &sample, Unlocked()); }
