// SPDX-License-Identifier: Apache-2.0
// The C ABI of scaled_mm and grouped_mm.
#include "c/op.h"
#include "fp8ref/cpu.h"
#include "fp8ref/mma.h"
#include "policies.h"

using fp8ref::Accumulate;
using fp8ref::Epilogue;
using fp8ref::ScaledMmArgs;
using fp8ref::Scales;
using namespace fp8ref::c;
namespace cpu = fp8ref::cpu;

namespace {

constexpr int kBlockBits = 7;  // 128 rows of b share their scales, where not each has its own
constexpr std::initializer_list<fp8ref_dtype> kOutTypes{FP8REF_FLOAT32, FP8REF_BFLOAT16, FP8REF_FLOAT16,
                                                        FP8REF_FLOAT8_E4M3FN};

/// The arguments that are no arrays.
struct Policies {
  const char *accumulate, *epilogue;
  std::int64_t split_k;
  const fp8ref_tensor* out_scale;
  const char* overflow;
};

bool takes_fp8(Accumulate name) {
  return name == Accumulate::exact ||
         fp8ref::tensor_core(fp8ref::unit_of(name), fp8ref::OperandClass::fp8, fp8ref::OutDtype::float32).block != 0;
}

bool in_order(Epilogue epilogue) {
  return epilogue == Epilogue::deepgemm || epilogue == Epilogue::triton || epilogue == Epilogue::triton_ba;
}

/// Checks the policies together, and sets them. [MM-OUT-E4M3], [MM-SPLIT-K]
void set_policies(const Op& op, const Policies& how, const Array& out, ScaledMmArgs& args) {
  args.out_dtype = fp8ref::out_dtype_of(name_of(out.dtype));
  args.out = out.data;
  args.accumulate = op.accumulate(how.accumulate, takes_fp8);
  args.epilogue = fp8ref::epilogue_of(op.policy("epilogue", how.epilogue));
  if (how.split_k < 1 || how.split_k > 0x7FFFFFFF) {
    op.fail("split_k must be an integer from 1 to 2**31 - 1, got " + std::to_string(how.split_k));
  }
  if (in_order(args.epilogue) && how.split_k != 1) {
    op.fail("epilogue='" + std::string(how.epilogue) + "' adds its blocks in order: split_k must be 1, got " +
            std::to_string(how.split_k));
  }
  args.split_k = how.split_k;
  const bool codes = out.dtype == FP8REF_FLOAT8_E4M3FN;
  if (codes ? how.out_scale == nullptr || how.overflow == nullptr
            : how.out_scale != nullptr || how.overflow != nullptr) {
    op.fail("out_scale and overflow belong to out of float8_e4m3fn, which needs both; got out: " + describe(out));
  }
  if (!codes) return;
  args.overflow = fp8ref::overflow_of(how.overflow);
  args.out_scale = op.scale_value("out_scale", how.out_scale);
}

/// What scales of these shapes mean; b: those of one expert. [MM-SCALES], [MM-SCALES-BLOCK]
Scales scale_kind(const Op& op, std::span<const std::int64_t> a, std::span<const std::int64_t> b,
                  const ScaledMmArgs& args) {
  auto is = [](std::span<const std::int64_t> shape, std::int64_t rows, std::int64_t columns) {
    return shape.size() == 2 && shape[0] == rows && shape[1] == columns;
  };
  const std::int64_t m = args.m, n = args.n, blocks = blocks_of(args.k);
  const bool values = (is_one_value(a) || is(a, m, 1)) && (is_one_value(b) || is(b, n, 1));
  if (values && !in_order(args.epilogue)) return Scales::values;
  if (!is(a, m, blocks) || !(is(b, blocks_of(n), blocks) || is(b, n, blocks))) {
    const std::string either = in_order(args.epilogue) ? "" : "one value, one for each row, or ";
    op.fail("the epilogue needs " + either + "for blocks of 128 a_scale " + text(Shape{m, blocks}) + " with b_scale " +
            text(Shape{blocks_of(n), blocks}) + " or " + text(Shape{n, blocks}) + "; got a_scale " + text(a) +
            " and b_scale " + text(b));
  }
  if (!in_order(args.epilogue) && args.accumulate != Accumulate::exact) {
    op.fail("an accumulator other than exact with block scales needs a block epilogue: deepgemm, triton, triton_ba");
  }
  return Scales::blocks;
}

/// Sets a, which has rows (m, k), and b, whose last dimensions are (n, k).
void set_operands(const Op& op, const Array& a, const Array& b, ScaledMmArgs& args) {
  args.m = a.shape[0];
  args.k = a.shape[1];
  args.n = b.shape[b.shape.size() - 2];
  if (b.shape.back() != args.k) {
    op.fail("a " + text(a.shape) + " and b " + text(b.shape) + " must have the same K, as the last dimension");
  }
  args.a = a.data;
  args.b = b.data;
  args.a_type = fp8ref::operand_of(name_of(a.dtype));
  args.b_type = fp8ref::operand_of(name_of(b.dtype));
}

/// From one row's scales to the next.
std::int64_t stride(Scales kind, std::span<const std::int64_t> shape) {
  return kind == Scales::values && is_one_value(shape) ? 0 : shape.back();
}

int row_bits(Scales kind, std::span<const std::int64_t> shape, std::int64_t n) {
  return kind == Scales::blocks && shape[0] != n ? kBlockBits : 0;
}

}  // namespace

fp8ref_status fp8ref_scaled_mm(const fp8ref_tensor* a, const fp8ref_tensor* b, const fp8ref_tensor* a_scale,
                               const fp8ref_tensor* b_scale, const fp8ref_tensor* bias, const char* accumulate,
                               const char* epilogue, int64_t split_k, const fp8ref_tensor* out_scale,
                               const char* overflow, fp8ref_tensor* out) {
  return call("scaled_mm", [&](const Op& op) {
    ScaledMmArgs args{};
    set_operands(op, op.fp8_array("a", a, 2), op.fp8_array("b", b, 2), args);
    const Array to = op.output("out", out, kOutTypes, {args.m, args.n});
    set_policies(op, {accumulate, epilogue, split_k, out_scale, overflow}, to, args);
    const Array left = op.array("a_scale", a_scale, kScaleTypes), right = op.array("b_scale", b_scale, kScaleTypes);
    const std::vector<float> a_values = op.scales("a_scale", left), b_values = op.scales("b_scale", right);
    args.scales = scale_kind(op, left.shape, right.shape, args);
    args.a_scale = {a_values.data(), stride(args.scales, left.shape)};
    args.b_scale = {b_values.data(), stride(args.scales, right.shape), row_bits(args.scales, right.shape, args.n)};
    const auto offset = op.bias(bias, {args.n});
    args.bias = offset ? offset->data() : nullptr;
    cpu::scaled_mm(args);
  });
}

namespace {

/// Where each expert's rows begin, and where the last one's end. [GROUPED-OFFSETS]
std::vector<std::int64_t> bounds(const Op& op, const fp8ref_tensor* offsets, std::int64_t experts, std::int64_t rows) {
  std::vector<std::int64_t> found = op.integers("offsets", offsets);
  if (static_cast<std::int64_t>(found.size()) != experts + 1) {
    op.fail("offsets must have shape " + text(Shape{experts + 1}) + ", got " +
            text(Shape{static_cast<std::int64_t>(found.size())}));
  }
  const auto drop = std::adjacent_find(found.begin(), found.end(), std::greater<>());
  if (drop != found.end()) {
    op.fail("offsets must not decrease, got " + std::to_string(drop[0]) + " before " + std::to_string(drop[1]));
  }
  if (found.front() < 0 || found.back() > rows) {
    op.fail("offsets must lie in 0.." + std::to_string(rows) + ", the rows of a; got " + std::to_string(found.front()) +
            ".." + std::to_string(found.back()));
  }
  return found;
}

}  // namespace

fp8ref_status fp8ref_grouped_mm(const fp8ref_tensor* a, const fp8ref_tensor* b, const fp8ref_tensor* a_scale,
                                const fp8ref_tensor* b_scale, const fp8ref_tensor* offsets, const fp8ref_tensor* bias,
                                const char* accumulate, const char* epilogue, int64_t split_k,
                                const fp8ref_tensor* out_scale, const char* overflow, fp8ref_tensor* out) {
  return call("grouped_mm", [&](const Op& op) {
    fp8ref::GroupedMmArgs args{};
    const Array weights = op.fp8_array("b", b, 3);
    set_operands(op, op.fp8_array("a", a, 2), weights, args.all);
    args.experts = weights.shape[0];
    const std::vector<std::int64_t> starts = bounds(op, offsets, args.experts, args.all.m);
    args.offsets = starts.data();
    const Array to = op.output("out", out, kOutTypes, {args.all.m, args.all.n});
    set_policies(op, {accumulate, epilogue, split_k, out_scale, overflow}, to, args.all);
    const Array left = op.array("a_scale", a_scale, kScaleTypes), right = op.array("b_scale", b_scale, kScaleTypes);
    const std::vector<float> a_values = op.scales("a_scale", left), b_values = op.scales("b_scale", right);
    const bool each = (right.ndim() == 1 || right.ndim() == 3) && right.shape[0] == args.experts;
    if (!each && !is_one_value(right.shape)) {
      op.fail("b_scale must be one value, or (E, ...) for each expert, got " + describe(right));
    }
    const auto one = each ? right.shape.subspan(1) : std::span<const std::int64_t>{};  // the scales of an expert
    const Scales kind = args.all.scales = scale_kind(op, left.shape, one, args.all);
    args.all.a_scale = {a_values.data(), stride(kind, left.shape)};
    args.all.b_scale = {b_values.data(), stride(kind, one), row_bits(kind, one, args.all.n)};
    args.b_scale_stride = !each ? 0 : one.empty() ? 1 : one[0] * one[1];
    const auto offset = op.bias(bias, {args.experts, args.all.n});
    args.all.bias = offset ? offset->data() : nullptr;
    cpu::grouped_mm(args);
  });
}
