// SPDX-License-Identifier: Apache-2.0
// The C ABI of quantize and dequantize.
#include <algorithm>
#include <bit>
#include <limits>

#include "c/op.h"
#include "fp8ref/cpu.h"
#include "policies.h"

using namespace fp8ref::c;
namespace cpu = fp8ref::cpu;
using fp8ref::Granularity;

namespace {

/// The shape of the scale of (rows, k). [QUANT-TILES]
Shape scale_shape(Granularity granularity, std::int64_t rows, std::int64_t k) {
  switch (granularity) {
    case Granularity::tensor:
      return {};
    case Granularity::row:
      return {rows, 1};
    case Granularity::group:
      return {rows, blocks_of(k)};
    case Granularity::block:
      break;
  }
  return {blocks_of(rows), blocks_of(k)};
}

/// The bound that a rule takes, or Inf. [QUANT-UB]
float upper_bound(const Op& op, const fp8ref::Rule& rule, const fp8ref_tensor* scale_ub) {
  if (scale_ub == nullptr) return std::numeric_limits<float>::infinity();
  if (rule.bound == fp8ref::Bound::none) op.fail("rule '" + std::string(rule.name) + "' takes no scale_ub");
  const float bound = op.scale_value("scale_ub", scale_ub);
  const auto bits = std::bit_cast<std::uint32_t>(bound);
  if (bits == 0 || bits >= 0x7F800000) op.fail("scale_ub must be positive and finite, got " + std::to_string(bound));
  return bound;
}

template <class T>
void run(const Array& x, std::int64_t rows, std::int64_t k, const fp8ref::Rule& rule, const Array& codes,
         const Array& scale, float upper) {
  cpu::quantize(x.as<const T>(), rows, k, rule, codes.as<fp8ref::e4m3>(), scale.as<float>(), upper);
}

}  // namespace

fp8ref_status fp8ref_quantize(const fp8ref_tensor* x, const char* rule, const fp8ref_tensor* scale,
                              const fp8ref_tensor* scale_ub, fp8ref_tensor* codes, fp8ref_tensor* scale_out) {
  return call("quantize", [&](const Op& op) {
    const fp8ref::Rule& row = fp8ref::rule_of(op.policy("rule", rule));
    const std::string name = "rule '" + std::string(row.name) + "'";
    const Array from = op.array("x", x, {FP8REF_BFLOAT16, FP8REF_FLOAT16, FP8REF_FLOAT32});
    const bool whole = row.granularity == Granularity::tensor;
    if (whole ? from.ndim() == 0 : from.ndim() != 2) {
      op.fail("x must " + std::string(whole ? "have at least one dimension" : "be (rows, K)") + " for " + name +
              ", got " + describe(from));
    }
    if (row.takes_scale() != (scale != nullptr)) {
      op.fail(name + (scale == nullptr ? " needs" : " computes its own") + " scale");
    }
    const float upper = upper_bound(op, row, scale_ub);
    const float given = scale == nullptr ? 0.0f : op.scale_value("scale", scale);
    const std::int64_t rows = whole ? 1 : from.shape[0], k = whole ? from.size : from.shape[1];
    const Array to = op.output("codes", codes, {FP8REF_FLOAT8_E4M3FN}, from.same_shape());
    const Array kept = op.output("scale_out", scale_out, {FP8REF_FLOAT32}, scale_shape(row.granularity, rows, k));
    if (scale != nullptr) std::fill_n(kept.as<float>(), kept.size, given);
    if (from.dtype == FP8REF_FLOAT32) return run<float>(from, rows, k, row, to, kept, upper);
    if (from.dtype == FP8REF_BFLOAT16) return run<fp8ref::bf16>(from, rows, k, row, to, kept, upper);
    run<fp8ref::fp16>(from, rows, k, row, to, kept, upper);
  });
}

fp8ref_status fp8ref_dequantize(const fp8ref_tensor* codes, const fp8ref_tensor* scale, fp8ref_tensor* values) {
  return call("dequantize", [&](const Op& op) {
    const Array from = op.array("codes", codes, {FP8REF_FLOAT8_E4M3FN});
    const bool matrix = from.ndim() == 2;
    const std::int64_t rows = matrix ? from.shape[0] : 1, k = matrix ? from.shape[1] : from.size;
    const Array factors = op.array("scale", scale, kScaleTypes);
    std::int64_t high = std::max<std::int64_t>(rows, 1), wide = std::max<std::int64_t>(k, 1);
    if (!is_one_value(factors.shape)) {
      const Shape each{rows, 1}, groups{rows, blocks_of(k)}, blocks{blocks_of(rows), blocks_of(k)};
      if (!matrix || !(factors.has_shape(each) || factors.has_shape(groups) || factors.has_shape(blocks))) {
        const std::string shapes = matrix ? " or shape " + text(each) + ", " + text(groups) + ", " + text(blocks) : "";
        op.fail("scale must be one value" + shapes + ", got " + describe(factors));
      }
      high = factors.shape[0] == rows ? 1 : 128;
      wide = factors.has_shape(each) ? wide : 128;
    }
    const std::vector<float> numbers = op.scales("scale", factors);
    const Array to = op.output("values", values, {FP8REF_FLOAT32, FP8REF_BFLOAT16, FP8REF_FLOAT16}, from.same_shape());
    const fp8ref::OutDtype type = fp8ref::out_dtype_of(name_of(to.dtype));
    cpu::dequantize(from.as<const fp8ref::e4m3>(), rows, k, {numbers.data(), high, wide}, type, to.data);
  });
}
