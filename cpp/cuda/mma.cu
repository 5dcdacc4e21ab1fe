// SPDX-License-Identifier: Apache-2.0
// mma, and linear by a unit, on a CUDA device (spec/mma.md): every unit on every GPU. 16-bit operands with fp32 results
// go to the tensor cores of the GPU at hand where those are that unit (native_mma.h), other FP8 and fp16 operands with
// such results to the emulation of mma_chains.cu; the rest has a thread for each output, over the scalar semantics that
// the CPU's slow paths use too, and what tells one unit from another there is its row of numbers, an argument.
#include "cuda/chains.h"
#include "cuda/launch.h"
#include "cuda/linear.h"
#include "cuda/native_mma.h"
#include "fp8ref/cuda.h"
#include "fp8ref/errors.h"
#include "fp8ref/linear.h"
#include "fp8ref/modes.h"

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

struct MmaSink {
  const float* c;
  std::int64_t n;
  float* out;
  __device__ float begin(std::int64_t i, std::int64_t j) const { return c == nullptr ? 0.0f : c[i * n + j]; }
  __device__ void finish(std::int64_t i, std::int64_t j, float result) const { out[i * n + j] = result; }
};

template <class T>
void run_native(const MmaArgs& args, Stream stream) {
  launch_native("mma", static_cast<const T*>(args.a), static_cast<const T*>(args.b), args.m, args.n, args.k,
                MmaSink{static_cast<const float*>(args.c), args.n, static_cast<float*>(args.out)}, stream);
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
  if (!is_native(core, class_of(args.a_type), device_facts().capability)) {
    if (!mma_chains(args, stream)) mma_scalar(args, stream);
    return;
  }
  args.a_type == Operand::bf16 ? run_native<bf16>(args, stream) : run_native<fp16>(args, stream);
}

void linear(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
            Accumulate accumulate, bf16* out, Stream stream) {
  const Accumulate unit = bf16_unit(accumulate);
  if (unit != unit_of(unit)) throw OpError("linear: a promoted accumulator is no unit");
  if (tensor_core(unit, OperandClass::bf16, OutDtype::float32).block == 0)
    throw OpError("linear: the tensor core has no such operands");
  if (m == 0 || n == 0) return;
  if (linear_in_hardware(x, w, m, n, k, bias, unit, out, stream)) return;
  linear_unit_scalar(x, w, m, n, k, bias, unit, out, stream);
}

}  // namespace fp8ref::cuda
