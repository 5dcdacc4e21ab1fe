// SPDX-License-Identifier: Apache-2.0
// The C ABI of mma and linear.
#include "c/op.h"
#include "fp8ref/cpu.h"
#include "fp8ref/mma.h"
#include "fp8ref/modes.h"
#include "policies.h"

using fp8ref::Accumulate;
using fp8ref::bf16;
using fp8ref::OperandClass;
using fp8ref::OutDtype;
using namespace fp8ref::c;
namespace cpu = fp8ref::cpu;

namespace {

bool is_unit(Accumulate name) { return fp8ref::tensor_core(name, OperandClass::bf16, OutDtype::float32).block != 0; }

OperandClass class_of(fp8ref_dtype dtype) {
  if (dtype == FP8REF_BFLOAT16) return OperandClass::bf16;
  return dtype == FP8REF_FLOAT16 ? OperandClass::fp16 : OperandClass::fp8;
}

Array operand(const Op& op, const char* name, const fp8ref_tensor* tensor) {
  return op.array(name, tensor, {FP8REF_FLOAT8_E4M3FN, FP8REF_FLOAT8_E5M2, FP8REF_BFLOAT16, FP8REF_FLOAT16}, 2);
}

}  // namespace

fp8ref_status fp8ref_mma(const fp8ref_tensor* a, const fp8ref_tensor* b, const fp8ref_tensor* c, const char* accumulate,
                         fp8ref_tensor* out) {
  return call("mma", [&](const Op& op) {
    const Accumulate unit = op.accumulate(accumulate, is_unit);
    const Array left = operand(op, "a", a), right = operand(op, "b", b);
    const OperandClass operands = class_of(left.dtype);
    if (operands != class_of(right.dtype) || left.shape[1] != right.shape[1]) {
      op.fail("a and b must be (M, K) and (N, K) of one class; got " + describe(left) + " and " + describe(right));
    }
    const Shape shape{left.shape[0], right.shape[0]};
    const Array to = op.output("out", out, {FP8REF_FLOAT32, FP8REF_FLOAT16}, shape);
    const OutDtype type = fp8ref::out_dtype_of(name_of(to.dtype));
    if (fp8ref::tensor_core(unit, operands, type).block == 0) {
      op.fail("'" + std::string(accumulate) + "' has no " + name_of(left.dtype) + " operands with " +
              name_of(to.dtype) + " accumulators");
    }
    const void* first = nullptr;
    if (c != nullptr) {
      const Array given = op.array("c", c, {to.dtype});
      if (!given.has_shape(shape)) op.fail("c must have shape " + text(shape) + ", got " + describe(given));
      first = given.data;
    }
    cpu::mma({left.data, right.data, fp8ref::operand_of(name_of(left.dtype)), fp8ref::operand_of(name_of(right.dtype)),
              shape[0], shape[1], left.shape[1], first, unit, type, to.data});
  });
}

fp8ref_status fp8ref_linear(const fp8ref_tensor* x, const fp8ref_tensor* weight, const fp8ref_tensor* bias,
                            const char* accumulate, fp8ref_tensor* out) {
  return call("linear", [&](const Op& op) {
    const Accumulate name = op.accumulate(
        accumulate, [](Accumulate known) { return fp8ref::find_mode(known) != nullptr || is_unit(known); });
    const Array left = op.bf16_array("x", x, 2), right = op.bf16_array("weight", weight, 2);
    const std::int64_t m = left.shape[0], n = right.shape[0], k = left.shape[1];
    if (right.shape[1] != k) {
      op.fail("x " + text(left.shape) + " and weight " + text(right.shape) +
              " must have the same K, as (M, K) and (N, K)");
    }
    const auto offset = op.bias(bias, {n});
    const float* offsets = offset ? offset->data() : nullptr;
    auto* to = op.output("out", out, {FP8REF_BFLOAT16}, {m, n}).as<bf16>();
    const auto *rows = left.as<const bf16>(), *columns = right.as<const bf16>();
    if (name == Accumulate::exact) return cpu::linear(rows, columns, m, n, k, offsets, nullptr, to);
    cpu::linear(rows, columns, m, n, k, offsets, name, to);
  });
}
