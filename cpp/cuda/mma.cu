// SPDX-License-Identifier: Apache-2.0
// mma on a CUDA device (spec/mma.md), every unit on every GPU: a thread for each output, over the scalar semantics that
// the CPU's slow paths use too. What tells one unit from another is its row of numbers, an argument.
#include "cuda/chains.h"
#include "cuda/launch.h"
#include "cuda/linear.h"
#include "fp8ref/cuda.h"
#include "fp8ref/errors.h"
#include "fp8ref/linear.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 128;

template <class A, class B, class R>
__global__ void mma_scalar_kernel(TensorCore core, const A* a, const B* b, const R* c, std::int64_t m, std::int64_t n,
                                  std::int64_t k, R* out) {
  for (std::int64_t index = grid_thread(); index < m * n; index += grid_threads()) {
    const R begin = c == nullptr ? register_of<R>(0, false) : c[index];
    out[index] = tensor_core_chain(core, a + index / n * k, b + index % n * k, k, begin);
  }
}

__global__ void linear_scalar_kernel(TensorCore core, const bf16* x, const bf16* w, std::int64_t m, std::int64_t n,
                                     std::int64_t k, const float* bias, bf16* out) {
  for (std::int64_t index = grid_thread(); index < m * n; index += grid_threads()) {
    const float accumulator = tensor_core_chain(core, x + index / n * k, w + index % n * k, k, 0.0f);
    out[index] = linear_tail(accumulator, bias == nullptr ? nullptr : bias + index % n);
  }
}

template <class A, class B, class R>
void run_scalar(const TensorCore& core, const MmaArgs& args, Stream stream) {
  launch("mma", mma_scalar_kernel<A, B, R>, blocks_for(args.m * args.n, kThreads), kThreads, 0, stream, core,
         static_cast<const A*>(args.a), static_cast<const B*>(args.b), static_cast<const R*>(args.c), args.m, args.n,
         args.k, static_cast<R*>(args.out));
}

template <class R>
void run_scalar_by_operands(const TensorCore& core, const MmaArgs& args, Stream stream) {
  const bool a5 = args.a_type == Operand::e5m2, b5 = args.b_type == Operand::e5m2;
  if (args.a_type == Operand::fp16) return run_scalar<fp16, fp16, R>(core, args, stream);
  if (a5) return b5 ? run_scalar<e5m2, e5m2, R>(core, args, stream) : run_scalar<e5m2, e4m3, R>(core, args, stream);
  return b5 ? run_scalar<e4m3, e5m2, R>(core, args, stream) : run_scalar<e4m3, e4m3, R>(core, args, stream);
}

OperandClass class_of(Operand type) {
  if (type == Operand::bf16) return OperandClass::bf16;
  return type == Operand::fp16 ? OperandClass::fp16 : OperandClass::fp8;
}

}  // namespace

void mma_scalar(const MmaArgs& args, Stream stream) {
  const TensorCore core = tensor_core(args.accumulate, class_of(args.a_type), args.out_dtype);
  if (args.out_dtype == OutDtype::float16) return run_scalar_by_operands<fp16>(core, args, stream);
  if (args.a_type == Operand::bf16) return run_scalar<bf16, bf16, float>(core, args, stream);
  run_scalar_by_operands<float>(core, args, stream);
}

void linear_unit_scalar(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
                        Accumulate unit, bf16* out, Stream stream) {
  launch("linear", linear_scalar_kernel, blocks_for(m * n, kThreads), kThreads, 0, stream,
         tensor_core(unit, OperandClass::bf16, OutDtype::float32), x, w, m, n, k, bias, out);
}

void mma(const MmaArgs& args, Stream stream) {
  if (args.accumulate != unit_of(args.accumulate)) throw OpError("mma: a promoted accumulator is no unit");
  const TensorCore core = tensor_core(args.accumulate, class_of(args.a_type), args.out_dtype);
  if (core.block == 0 || class_of(args.a_type) != class_of(args.b_type)) {
    throw OpError("mma: the tensor core has no such operands");
  }
  if (args.m == 0 || args.n == 0) return;
  mma_scalar(args, stream);
}

void linear(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
            Accumulate unit, bf16* out, Stream stream) {
  if (unit != unit_of(unit)) throw OpError("linear: a promoted accumulator is no unit");
  if (tensor_core(unit, OperandClass::bf16, OutDtype::float32).block == 0) {
    throw OpError("linear: the tensor core has no such operands");
  }
  if (m == 0 || n == 0) return;
  if (linear_in_hardware(x, w, m, n, k, bias, unit, out, stream)) return;
  linear_unit_scalar(x, w, m, n, k, bias, unit, out, stream);
}

}  // namespace fp8ref::cuda
