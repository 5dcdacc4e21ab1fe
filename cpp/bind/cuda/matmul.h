// SPDX-License-Identifier: Apache-2.0
// What the bindings of scaled_mm and grouped_mm have in common.
#pragma once

#include <cstdint>
#include <string_view>

#include "bind/cuda/cuda.h"

namespace fp8ref::bind {

/// Operands and policies as Python has them; scales and result are still to be set.
struct Matmul {
  Address a;
  std::string_view a_dtype;
  Address b;
  std::string_view b_dtype;
  std::int64_t m, n, k;
  Address bias;
  std::string_view scales, out_dtype, accumulate, epilogue;
  std::int64_t split_k;
  float out_scale;
  std::string_view overflow;
  Address out;
};

inline ScaledMmArgs matmul_arguments(const Matmul& given) {
  ScaledMmArgs args{};
  args.a = at<const void>(given.a);
  args.b = at<const void>(given.b);
  args.a_type = operand_of(given.a_dtype);
  args.b_type = operand_of(given.b_dtype);
  args.m = given.m;
  args.n = given.n;
  args.k = given.k;
  args.bias = at<const float>(given.bias);
  args.accumulate = accumulate_of(given.accumulate);
  args.epilogue = epilogue_of(given.epilogue);
  args.out_dtype = out_dtype_of(given.out_dtype);
  args.out = at<void>(given.out);
  args.scales = scales_of(given.scales);
  args.split_k = given.split_k;
  args.out_scale = given.out_scale;
  args.overflow = overflow_of(given.overflow);
  return args;
}

}  // namespace fp8ref::bind
