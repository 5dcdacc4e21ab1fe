// SPDX-License-Identifier: Apache-2.0
#include "bind/bind.h"
#include "fp8ref/cpu.h"

namespace {

using namespace fp8ref::bind;

template <class T>
std::int64_t extent(const In<T>& x, std::size_t dimension) {
  return static_cast<std::int64_t>(x.shape(dimension));
}

/// logits: (tokens, experts); ids, scores: (tokens, top_k)
void route(In<std::uint16_t> logits, std::int64_t top_k, Out<std::int64_t> ids, Out<std::uint16_t> scores) {
  fp8ref::cpu::route(as_bf16(logits.data()), extent(logits, 0), extent(logits, 1), top_k, ids.data(),
                     as_bf16(scores.data()));
}

/// x: (tokens, cols); ids, scores: (tokens, top_k); inputs: (tokens * top_k, cols); order: (tokens * top_k);
/// offsets: (experts + 1)
void dispatch(In<std::uint16_t> x, In<std::int64_t> ids, In<std::uint16_t> scores, Out<std::uint16_t> inputs,
              Out<std::int64_t> order, Out<std::int64_t> offsets) {
  fp8ref::cpu::dispatch(as_bf16(x.data()), ids.data(), as_bf16(scores.data()), extent(ids, 0), extent(ids, 1),
                        extent(x, 1), static_cast<std::int64_t>(offsets.size()) - 1, as_bf16(inputs.data()),
                        order.data(), offsets.data());
}

/// routed: (tokens * top_k, cols); order: (tokens * top_k); shared, out: (tokens, cols)
void combine(In<std::uint16_t> routed, In<std::int64_t> order, In<std::uint16_t> shared, Out<std::uint16_t> out) {
  const std::int64_t tokens = extent(shared, 0);
  fp8ref::cpu::combine(as_bf16(routed.data()), order.data(), as_bf16(shared.data()), tokens,
                       tokens == 0 ? 1 : extent(order, 0) / tokens, extent(shared, 1), as_bf16(out.data()));
}

}  // namespace

void bind_route(nanobind::module_& m) {
  m.def("route", &route, Unlocked());
  m.def("dispatch", &dispatch, Unlocked());
  m.def("combine", &combine, Unlocked());
}
