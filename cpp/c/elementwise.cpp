// SPDX-License-Identifier: Apache-2.0
// The C ABI of e4m3, silu_mul, residual, rmsnorm and sample.
#include "c/op.h"
#include "fp8ref/cpu.h"
#include "fp8ref/round.h"
#include "policies.h"

using fp8ref::bf16;
using fp8ref::fp16;
using namespace fp8ref::c;
namespace cpu = fp8ref::cpu;

namespace {

constexpr std::int64_t kLongestRow = 1 << 24;  // up to here the length of a row is a float32 number

std::size_t count(const Array& array) { return static_cast<std::size_t>(array.size); }

}  // namespace

fp8ref_status fp8ref_encode(const fp8ref_tensor* x, const char* overflow, fp8ref_tensor* codes) {
  return call("encode", [&](const Op& op) {
    const fp8ref::Overflow how = fp8ref::overflow_of(op.policy("overflow", overflow));
    const Array from = op.array("x", x, {FP8REF_FLOAT64, FP8REF_FLOAT32, FP8REF_FLOAT16, FP8REF_BFLOAT16});
    auto* to = op.output("codes", codes, {FP8REF_FLOAT8_E4M3FN}, from.same_shape()).as<fp8ref::e4m3>();
    if (from.dtype == FP8REF_FLOAT64) return cpu::encode(from.as<const double>(), count(from), how, to);
    if (from.dtype == FP8REF_FLOAT32) return cpu::encode(from.as<const float>(), count(from), how, to);
    if (from.dtype == FP8REF_FLOAT16) return cpu::encode(from.as<const fp16>(), count(from), how, to);
    cpu::encode(from.as<const bf16>(), count(from), how, to);
  });
}

fp8ref_status fp8ref_decode(const fp8ref_tensor* codes, fp8ref_tensor* values) {
  return call("decode", [&](const Op& op) {
    const Array from = op.array("codes", codes, {FP8REF_FLOAT8_E4M3FN});
    const Array to = op.output("values", values, {FP8REF_FLOAT32}, from.same_shape());
    cpu::decode(from.as<const fp8ref::e4m3>(), count(from), to.as<float>());
  });
}

fp8ref_status fp8ref_silu_mul(const fp8ref_tensor* gate, const fp8ref_tensor* up, fp8ref_tensor* out) {
  return call("silu_mul", [&](const Op& op) {
    const auto [left, right] = op.bf16_pair("gate", gate, "up", up);
    const Array to = op.output("out", out, {FP8REF_BFLOAT16}, left.same_shape());
    cpu::silu_mul(left.as<const bf16>(), right.as<const bf16>(), count(left), to.as<bf16>());
  });
}

fp8ref_status fp8ref_residual(const fp8ref_tensor* x, const fp8ref_tensor* y, fp8ref_tensor* out) {
  return call("residual", [&](const Op& op) {
    const auto [left, right] = op.bf16_pair("x", x, "y", y);
    const Array to = op.output("out", out, {FP8REF_BFLOAT16}, left.same_shape());
    cpu::residual(left.as<const bf16>(), right.as<const bf16>(), count(left), to.as<bf16>());
  });
}

fp8ref_status fp8ref_gated_residual(const fp8ref_tensor* x, const fp8ref_tensor* y, const fp8ref_tensor* gate,
                                    fp8ref_tensor* out) {
  return call("gated_residual", [&](const Op& op) {
    const auto [left, right] = op.bf16_pair("x", x, "y", y);
    const Array factor = op.bf16_array("gate", gate);
    if (!factor.has_shape({1})) op.fail("gate must have shape (1,), got " + describe(factor));
    const Array to = op.output("out", out, {FP8REF_BFLOAT16}, left.same_shape());
    cpu::gated_residual(left.as<const bf16>(), right.as<const bf16>(), factor.as<const bf16>(), count(left),
                        to.as<bf16>());
  });
}

fp8ref_status fp8ref_rmsnorm(const fp8ref_tensor* x, const fp8ref_tensor* weight, double eps, fp8ref_tensor* out) {
  return call("rmsnorm", [&](const Op& op) {
    const Array from = op.bf16_array("x", x);
    if (from.ndim() == 0 || from.shape.back() < 1 || from.shape.back() > kLongestRow) {
      op.fail("x must have shape (..., K) with 1 <= K <= 16777216, got " + describe(from));
    }
    const std::int64_t columns = from.shape.back();
    const bf16* factors = nullptr;
    if (weight != nullptr) {
      const Array found = op.bf16_array("weight", weight);
      if (!found.has_shape({columns})) {
        op.fail("weight must have shape " + text(Shape{columns}) + ", got " + describe(found));
      }
      factors = found.as<const bf16>();
    }
    op.positive_float32("eps", eps);
    const Array to = op.output("out", out, {FP8REF_BFLOAT16}, from.same_shape());
    cpu::rmsnorm(from.as<const bf16>(), factors, from.size / columns, columns, fp8ref::rn32(eps), to.as<bf16>());
  });
}

fp8ref_status fp8ref_sample(const fp8ref_tensor* logits, fp8ref_tensor* ids) {
  return call("sample", [&](const Op& op) {
    const Array from = op.array("logits", logits, {FP8REF_FLOAT32, FP8REF_BFLOAT16});
    if (from.ndim() == 0 || from.shape.back() == 0) {
      op.fail("logits must have shape (..., vocabulary) with vocabulary >= 1, got " + describe(from));
    }
    const Array to = op.output("ids", ids, {FP8REF_INT64}, Shape(from.shape.begin(), from.shape.end() - 1));
    std::vector<float> wide;
    if (from.dtype == FP8REF_BFLOAT16) wide = op.widened(from);
    const float* values = wide.empty() ? from.as<const float>() : wide.data();
    cpu::sample(values, to.size, from.shape.back(), to.as<std::int64_t>());
  });
}
