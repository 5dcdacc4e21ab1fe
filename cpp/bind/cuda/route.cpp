// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda/cuda.h"

namespace {

using namespace fp8ref::bind;

/// logits: (tokens, num_experts); experts, scores: (tokens, top_k)
void route(Address logits, std::int64_t tokens, std::int64_t num_experts, std::int64_t top_k, Address experts,
           Address scores, Address stream) {
  fp8ref::cuda::route(at<const fp8ref::bf16>(logits), tokens, num_experts, top_k, at<std::int64_t>(experts),
                      at<fp8ref::bf16>(scores), stream_at(stream));
}

/// x: (tokens, cols); experts, scores: (tokens, top_k); inputs: (tokens * top_k, cols); offsets: (num_experts + 1,)
void dispatch(Address x, Address experts, Address scores, std::int64_t tokens, std::int64_t top_k, std::int64_t cols,
              std::int64_t num_experts, Address inputs, Address order, Address offsets, Address stream) {
  fp8ref::cuda::dispatch(at<const fp8ref::bf16>(x), at<const std::int64_t>(experts), at<const fp8ref::bf16>(scores),
                         tokens, top_k, cols, num_experts, at<fp8ref::bf16>(inputs), at<std::int64_t>(order),
                         at<std::int64_t>(offsets), stream_at(stream));
}

/// routed: (tokens * top_k, cols); shared, out: (tokens, cols)
void combine(Address routed, Address order, Address shared, std::int64_t tokens, std::int64_t top_k, std::int64_t cols,
             Address out, Address stream) {
  fp8ref::cuda::combine(at<const fp8ref::bf16>(routed), at<const std::int64_t>(order), at<const fp8ref::bf16>(shared),
                        tokens, top_k, cols, at<fp8ref::bf16>(out), stream_at(stream));
}

}  // namespace

void bind_route(nb::module_& m) {
  m.def("route", &route, Unlocked());
  m.def("dispatch", &dispatch, Unlocked());
  m.def("combine", &combine, Unlocked());
}
