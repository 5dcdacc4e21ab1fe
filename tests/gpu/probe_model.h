// SPDX-License-Identifier: Apache-2.0
// What a tensor core instruction must give: the scalar semantics of fp8ref/mma.h behind patterns and operand names.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "fp8ref/mma.h"

namespace probes {

using fp8ref::Accumulate;
using fp8ref::Operand;
using fp8ref::OperandClass;
using fp8ref::OutDtype;
using fp8ref::TensorCore;

/// Where A comes from, and which unit of the GPU it is: wgmma from shared memory or registers, or mma.sync.
enum class Form { wgmma_ss, wgmma_rs, mma_sync };
/// The accumulator before the first instruction: c, or none (scale-d = 0) while the registers hold c.
enum class Start { from_c, fresh };
/// One chain, or fresh chains that are added in fp32.
enum class Sum { chain, promoted };

struct Instruction {
  Form form;
  Operand a, b;
  OutDtype out;
};

/// What is done with the instructions of a tile: `group` of them follow each other directly, then their results are
/// waited for (and, promoted, added to the sum).
struct Plan {
  int steps = 1;
  int group = 16;
  Start start = Start::from_c;
  Sum sum = Sum::chain;
};

inline constexpr int kRowBytes = 32;  // operands of one instruction in a row of A or B: 32 FP8 or 16 of 16 bits

inline const char* name(Operand operand) {
  constexpr const char* kNames[] = {"e4m3", "e5m2", "bf16", "fp16"};
  return kNames[static_cast<int>(operand)];
}
inline const char* name(Form form) {
  constexpr const char* kNames[] = {"wgmma_ss", "wgmma_rs", "mma_sync"};
  return kNames[static_cast<int>(form)];
}
/// As `wgmma_ss.f32.e4m3.e4m3`.
inline std::string name(const Instruction& instruction) {
  const char* out = instruction.out == OutDtype::float16 ? ".f16." : ".f32.";
  return std::string(name(instruction.form)) + out + name(instruction.a) + "." + name(instruction.b);
}

inline OperandClass class_of(Operand operand) {
  if (operand == Operand::bf16) return OperandClass::bf16;
  return operand == Operand::fp16 ? OperandClass::fp16 : OperandClass::fp8;
}

/// Compute capability of a GPU, and the unit behind an instruction there [MMA-UNITS].
struct Capability {
  int major, minor;
};
inline Accumulate unit_of(Form form, Capability capability) {
  if (form != Form::mma_sync) return Accumulate::sm90_wgmma;
  if (capability.major == 8) return capability.minor == 9 ? Accumulate::sm89_mma : Accumulate::sm80_mma;
  return capability.major >= 12 ? Accumulate::sm120_mma : Accumulate::sm90_mma_sync;
}
inline TensorCore core_of(const Instruction& instruction, Accumulate unit) {
  return fp8ref::tensor_core(unit, class_of(instruction.a), instruction.out);
}

namespace detail {

template <class A, class B, class R>
R chain(const TensorCore& core, const Plan& plan, const std::vector<A>& a, const std::vector<B>& b, R c) {
  const auto k = static_cast<std::int64_t>(a.size());
  if (plan.start == Start::fresh) c = fp8ref::register_of<R>(0, false);
  if (plan.sum == Sum::chain) return fp8ref::tensor_core_chain(core, a.data(), b.data(), k, c);
  const std::int64_t depth = k / plan.steps * plan.group;
  R sum = fp8ref::register_of<R>(0, false);
  for (std::int64_t i = 0; i < k; i += depth) {
    const std::int64_t count = k - i < depth ? k - i : depth;
    sum = fp8ref::add_registers(sum, fp8ref::tensor_core_chain(core, a.data() + i, b.data() + i, count, c));
    c = fp8ref::register_of<R>(0, false);
  }
  return sum;
}

template <class T>
std::vector<T> row(const std::uint8_t* bytes, int steps) {
  std::vector<T> values(static_cast<std::size_t>(steps) * kRowBytes / sizeof(T));
  std::memcpy(values.data(), bytes, values.size() * sizeof(T));
  return values;
}

template <class A, class B>
std::uint32_t result(const TensorCore& core, const Plan& plan, OutDtype out, const std::uint8_t* a,
                     const std::uint8_t* b, std::uint32_t c) {
  const std::vector<A> left = row<A>(a, plan.steps);
  const std::vector<B> right = row<B>(b, plan.steps);
  if (out == OutDtype::float16) {
    return chain(core, plan, left, right, fp8ref::fp16{static_cast<std::uint16_t>(c)}).bits;
  }
  return fp8ref::pattern(chain(core, plan, left, right, fp8ref::bit_cast<float>(c)));
}

}  // namespace detail

/// The pattern of one output: a row of A and a row of B of `plan.steps` instructions each, and the register c.
inline std::uint32_t predict(const TensorCore& core, const Instruction& instruction, const Plan& plan,
                             const std::uint8_t* a, const std::uint8_t* b, std::uint32_t c) {
  using fp8ref::e4m3, fp8ref::e5m2, fp8ref::bf16, fp8ref::fp16;
  const OutDtype out = instruction.out;
  if (instruction.a == Operand::bf16) return detail::result<bf16, bf16>(core, plan, out, a, b, c);
  if (instruction.a == Operand::fp16) return detail::result<fp16, fp16>(core, plan, out, a, b, c);
  if (instruction.a == Operand::e4m3) {
    return instruction.b == Operand::e4m3 ? detail::result<e4m3, e4m3>(core, plan, out, a, b, c)
                                          : detail::result<e4m3, e5m2>(core, plan, out, a, b, c);
  }
  return instruction.b == Operand::e4m3 ? detail::result<e5m2, e4m3>(core, plan, out, a, b, c)
                                        : detail::result<e5m2, e5m2>(core, plan, out, a, b, c);
}

}  // namespace probes
