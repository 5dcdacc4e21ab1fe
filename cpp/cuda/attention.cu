// SPDX-License-Identifier: Apache-2.0
// attention on a CUDA device (spec/attention.md): float64 sums with a certificate per output, then the outputs that
// stay open, exactly (attention_rows.cu). Every path gives the same bits, so which one runs is a matter of speed.
#include "cuda/attention.h"
#include "fp8ref/cuda.h"

namespace fp8ref::cuda {

void attention(const AttentionArgs& args, Stream stream) {
  if (args.q_len == 0 || args.q_heads == 0) return;
  const OpenList open("attention", stream);
  attention_rows({args, 0, args.q_len}, open.get(), stream);
  attention_close(args, open.get(), stream);
}

}  // namespace fp8ref::cuda
