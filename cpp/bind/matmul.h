// SPDX-License-Identifier: Apache-2.0
// What the bindings of scaled_mm and grouped_mm have in common.
#pragma once

#include <nanobind/stl/optional.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "bind/bind.h"
#include "fp8ref/cpu.h"

namespace fp8ref::bind {

/// The last arguments of both, in this order.
struct MatmulPolicy {
  std::string_view a_dtype, b_dtype, scales, out_dtype, accumulate, epilogue;
  std::int64_t split_k;
  float out_scale;
  std::string_view overflow;
};

/// Arguments for rows (m, k) and (n, k) with these policies; the scales are still to be set.
inline ScaledMmArgs matmul_arguments(const In<std::uint8_t>& a, const In<std::uint8_t>& b,
                                     const std::optional<In<float>>& bias, const MatmulPolicy& policy,
                                     const AnyOut& out) {
  ScaledMmArgs args{};
  args.a = a.data();
  args.b = b.data();
  args.m = static_cast<std::int64_t>(a.shape(0));
  args.n = static_cast<std::int64_t>(b.shape(b.ndim() - 2));
  args.k = static_cast<std::int64_t>(a.shape(1));
  args.bias = bias ? bias->data() : nullptr;
  args.accumulate = accumulate_of(policy.accumulate);
  args.epilogue = epilogue_of(policy.epilogue);
  args.out_dtype = out_dtype_of(policy.out_dtype);
  args.out = out.data();
  args.scales = scales_of(policy.scales);
  args.split_k = policy.split_k;
  args.out_scale = policy.out_scale;
  args.overflow = overflow_of(policy.overflow);
  args.a_type = operand_of(policy.a_dtype);
  args.b_type = operand_of(policy.b_dtype);
  return args;
}

}  // namespace fp8ref::bind
