// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda/cuda.h"

namespace {

using namespace fp8ref::bind;

/// q, out: (q_len, q_heads, head_dim); k, v: (kv_len, kv_heads, head_dim)
void attention(Address q, Address k, Address v, std::int64_t q_len, std::int64_t kv_len, std::int64_t q_heads,
               std::int64_t kv_heads, std::int64_t head_dim, float log2e_scale, std::string_view mask,
               std::string_view accumulate, std::int64_t chunk, Address out, Address stream) {
  fp8ref::AttentionArgs args{};
  args.q = at<const fp8ref::bf16>(q);
  args.k = at<const fp8ref::bf16>(k);
  args.v = at<const fp8ref::bf16>(v);
  args.q_len = q_len;
  args.kv_len = kv_len;
  args.q_heads = q_heads;
  args.kv_heads = kv_heads;
  args.head_dim = head_dim;
  args.log2e_scale = log2e_scale;
  args.mask = mask_of(mask);
  args.accumulate = accumulate_of(accumulate);
  args.chunk = chunk;
  args.out = at<fp8ref::bf16>(out);
  fp8ref::cuda::attention(args, stream_at(stream));
}

}  // namespace

void bind_attention(nb::module_& m) { m.def("attention", &attention, Unlocked()); }
