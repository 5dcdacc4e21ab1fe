// SPDX-License-Identifier: Apache-2.0
#include "fp8ref/sample.h"

#include "fp8ref/cpu.h"
#include "parallel.h"

namespace fp8ref::cpu {

void sample(const float* logits, std::int64_t rows, std::int64_t vocab, std::int64_t* ids) {
  parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) ids[i] = greedy(logits + i * vocab, vocab);
  });
}

}  // namespace fp8ref::cpu
