// SPDX-License-Identifier: Apache-2.0
#include "bind/bind.h"
#include "fp8ref/cpu.h"

namespace {

using namespace fp8ref::bind;

/// q, out: (q_len, q_heads, head_dim); k, v: (kv_len, kv_heads, head_dim); chunk: of mask chunked
void attention(In<std::uint16_t> q, In<std::uint16_t> k, In<std::uint16_t> v, float log2e_scale, std::string_view mask,
               std::string_view accumulate, std::int64_t chunk, Out<std::uint16_t> out) {
  fp8ref::AttentionArgs args{};
  args.q = as_bf16(q.data());
  args.k = as_bf16(k.data());
  args.v = as_bf16(v.data());
  args.q_len = static_cast<std::int64_t>(q.shape(0));
  args.kv_len = static_cast<std::int64_t>(k.shape(0));
  args.q_heads = static_cast<std::int64_t>(q.shape(1));
  args.kv_heads = static_cast<std::int64_t>(k.shape(1));
  args.head_dim = static_cast<std::int64_t>(q.shape(2));
  args.log2e_scale = log2e_scale;
  args.mask = mask_of(mask);
  args.chunk = chunk;
  args.accumulate = accumulate_of(accumulate);
  args.out = as_bf16(out.data());
  fp8ref::cpu::attention(args);
}

}  // namespace

void bind_attention(nanobind::module_& m) {
  m.def("attention", &attention, Unlocked());
  m.def("attention_default_factor", [](std::int64_t head_dim) { return fp8ref::cpu::attention_log2e_scale(head_dim); });
  m.def("attention_factor", [](double scale) { return fp8ref::cpu::attention_log2e_scale(scale); });
}
