// SPDX-License-Identifier: Apache-2.0
// The C ABI of route, dispatch and combine.
#include <algorithm>

#include "c/op.h"
#include "fp8ref/cpu.h"

using fp8ref::bf16;
using namespace fp8ref::c;
namespace cpu = fp8ref::cpu;

namespace {

constexpr std::int64_t kExperts = 1 << 20;  // the most experts, and choices of one token

void check_count(const Op& op, const char* name, std::int64_t value, std::int64_t most) {
  if (value < 1 || value > most) {
    op.fail(std::string(name) + " must be an integer from 1 to " + std::to_string(most) + ", got " +
            std::to_string(value));
  }
}

}  // namespace

fp8ref_status fp8ref_route(const fp8ref_tensor* logits, int64_t top_k, fp8ref_tensor* experts, fp8ref_tensor* scores) {
  return call("route", [&](const Op& op) {
    const Array from = op.bf16_array("logits", logits, 2);
    const std::int64_t tokens = from.shape[0], all = from.shape[1];
    if (all < 1 || all > kExperts) {
      op.fail("logits must have shape (T, E) with 1 <= E <= " + std::to_string(kExperts) + ", got " + describe(from));
    }
    check_count(op, "top_k", top_k, all);
    const Array ids = op.output("experts", experts, {FP8REF_INT64}, {tokens, top_k});
    const Array to = op.output("scores", scores, {FP8REF_BFLOAT16}, {tokens, top_k});
    cpu::route(from.as<const bf16>(), tokens, all, top_k, ids.as<std::int64_t>(), to.as<bf16>());
  });
}

fp8ref_status fp8ref_dispatch(const fp8ref_tensor* x, const fp8ref_tensor* experts, const fp8ref_tensor* scores,
                              int64_t num_experts, fp8ref_tensor* inputs, fp8ref_tensor* order,
                              fp8ref_tensor* offsets) {
  return call("dispatch", [&](const Op& op) {
    const Array from = op.bf16_array("x", x, 2), factors = op.bf16_array("scores", scores, 2);
    const std::vector<std::int64_t> ids = op.integers("experts", experts, 2);
    const std::int64_t tokens = from.shape[0], cols = from.shape[1], choices = factors.shape[1];
    const std::span<const std::int64_t> chosen(experts->shape, 2);
    if (!factors.has_shape({chosen[0], chosen[1]}) || factors.shape[0] != tokens || choices == 0) {
      op.fail("expected x (T, H), experts and scores (T, k) with k >= 1; got x " + text(from.shape) + ", experts " +
              text(chosen) + ", scores " + text(factors.shape));
    }
    check_count(op, "num_experts", num_experts, kExperts);
    const auto wrong = std::find_if(ids.begin(), ids.end(), [&](auto e) { return e < 0 || e >= num_experts; });
    if (wrong != ids.end()) {
      op.fail("experts must lie in [0, " + std::to_string(num_experts) + "), got " + std::to_string(*wrong));
    }
    const std::int64_t rows = tokens * choices;
    const Array to = op.output("inputs", inputs, {FP8REF_BFLOAT16}, {rows, cols});
    const Array places = op.output("order", order, {FP8REF_INT64}, {rows});
    const Array starts = op.output("offsets", offsets, {FP8REF_INT64}, {num_experts + 1});
    cpu::dispatch(from.as<const bf16>(), ids.data(), factors.as<const bf16>(), tokens, choices, cols, num_experts,
                  to.as<bf16>(), places.as<std::int64_t>(), starts.as<std::int64_t>());
  });
}

fp8ref_status fp8ref_combine(const fp8ref_tensor* routed, const fp8ref_tensor* order, const fp8ref_tensor* shared,
                             fp8ref_tensor* out) {
  return call("combine", [&](const Op& op) {
    const Array parts = op.bf16_array("routed", routed, 2), other = op.bf16_array("shared", shared, 2);
    const std::vector<std::int64_t> places = op.integers("order", order);
    const std::int64_t rows = parts.shape[0], tokens = other.shape[0], count = static_cast<std::int64_t>(places.size());
    const std::int64_t choices = tokens == 0 ? 1 : rows / tokens;
    if (rows != tokens * choices || choices < 1 || choices > kExperts || parts.shape[1] != other.shape[1] ||
        count != rows) {
      op.fail("expected routed (T * k, H), order (T * k,) and shared (T, H); got routed " + text(parts.shape) +
              ", order " + text(Shape{count}) + ", shared " + text(other.shape));
    }
    std::vector<bool> seen(places.size());
    for (const std::int64_t place : places) {
      if (place < 0 || place >= rows || seen[static_cast<std::size_t>(place)]) {
        op.fail("order must be a permutation of 0 to " + std::to_string(rows - 1));
      }
      seen[static_cast<std::size_t>(place)] = true;
    }
    const Array to = op.output("out", out, {FP8REF_BFLOAT16}, other.same_shape());
    cpu::combine(parts.as<const bf16>(), places.data(), other.as<const bf16>(), tokens, choices, other.shape[1],
                 to.as<bf16>());
  });
}
