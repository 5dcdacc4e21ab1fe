// SPDX-License-Identifier: Apache-2.0
// Arguments of scaled_mm and grouped_mm with the arrays behind them, and their results by both backends.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "compare.h"
#include "fp8ref/args.h"
#include "fp8ref/scaled_mm.h"

namespace fp8ref::test {

inline std::size_t bytes_of(OutDtype type) {
  return type == OutDtype::float32 ? 4 : type == OutDtype::float8_e4m3fn ? 1 : 2;
}

/// Two results by bits, NaNs being equal.
inline void equal_outputs(const std::string& what, OutDtype type, const std::vector<unsigned char>& expected,
                          const std::vector<unsigned char>& got) {
  const auto as = [&](auto element) {
    using T = decltype(element);
    std::vector<T> x(expected.size() / sizeof(T)), y(x.size());
    if (!x.empty()) std::memcpy(x.data(), expected.data(), expected.size());
    if (!y.empty()) std::memcpy(y.data(), got.data(), got.size());
    equal(what, x, y);
  };
  if (type == OutDtype::float32) return as(float{});
  if (type == OutDtype::bfloat16) return as(bf16{});
  if (type == OutDtype::float16) return as(fp16{});
  as(e4m3{});
}

/// One product of random codes; the members may be changed before `run`.
struct Matmul {
  std::int64_t m, n, k, experts = 1;
  std::vector<std::uint8_t> a, b;
  std::vector<float> a_scale, b_scale, bias;
  std::vector<std::int64_t> offsets;  // empty for a scaled_mm
  ScaledMmArgs policy{};              // its pointers and sizes are set by arguments()
  std::int64_t a_stride = 1, b_stride = 1, b_scale_stride = 0;
  int b_row_bits = 0;
  bool with_bias = false;

  Matmul(Random& random, std::int64_t rows, std::int64_t columns, std::int64_t depth, std::int64_t count = 1)
      : m(rows), n(columns), k(depth), experts(count) {
    policy.accumulate = Accumulate::exact;
    policy.epilogue = Epilogue::a_b;
    policy.out_dtype = OutDtype::float32;
    for (const e4m3 code : random_codes(random, m * k)) a.push_back(code.bits);
    for (const e4m3 code : random_codes(random, experts * n * k)) b.push_back(code.bits);
    bias = random_scales(random, experts * n);
    for (float& x : bias) x -= 1;
    one_scale_per_row(random);
  }

  static std::vector<float> random_scales(Random& random, std::int64_t count) {
    std::uniform_real_distribution<float> uniform(0.001f, 2.0f);
    std::vector<float> scales(static_cast<std::size_t>(count));
    for (float& scale : scales) scale = uniform(random);
    return scales;
  }

  void one_scale_per_row(Random& random) {
    a_scale = random_scales(random, m);
    b_scale = random_scales(random, experts * n);
    a_stride = b_stride = 1;
    b_scale_stride = experts > 1 ? n : 0;
  }
  void one_scale() {
    a_stride = b_stride = b_scale_stride = 0;
    a_scale.resize(1, 0.75f);
    b_scale.resize(1, 1.25f);
  }
  void block_scales(Random& random, int row_bits) {
    const std::int64_t blocks = (k + kScaleBlock - 1) / kScaleBlock, rows = row_bits == 0 ? n : (n + 127) / 128;
    policy.scales = Scales::blocks;
    a_scale = random_scales(random, m * blocks);
    b_scale = random_scales(random, experts * rows * blocks);
    a_stride = b_stride = blocks;
    b_scale_stride = rows * blocks;
    b_row_bits = row_bits;
  }

  GroupedMmArgs arguments(std::vector<unsigned char>& out) const {
    out.assign(static_cast<std::size_t>(m * n) * bytes_of(policy.out_dtype), 0x5A);
    GroupedMmArgs args{};
    args.all = policy;
    args.all.a = a.data();
    args.all.b = b.data();
    args.all.m = m;
    args.all.n = n;
    args.all.k = k;
    args.all.a_scale = {a_scale.data(), a_stride};
    args.all.b_scale = {b_scale.data(), b_stride, b_row_bits};
    args.all.bias = with_bias ? bias.data() : nullptr;
    args.all.out = out.data();
    args.experts = experts;
    args.offsets = offsets.empty() ? nullptr : offsets.data();
    args.b_scale_stride = b_scale_stride;
    return args;
  }

  std::string name() const {
    return std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) + ", epilogue " +
           std::to_string(static_cast<int>(policy.epilogue)) + ", out " +
           std::to_string(static_cast<int>(policy.out_dtype)) + (with_bias ? ", bias" : "");
  }
};

/// An implementation of both operations.
using Multiply = std::function<void(const GroupedMmArgs&)>;

inline void compare(const std::string& what, const Matmul& product, const Multiply& expected, const Multiply& got) {
  std::vector<unsigned char> x, y;
  expected(product.arguments(x));
  got(product.arguments(y));
  equal_outputs(what + " " + product.name(), product.policy.out_dtype, x, y);
}

/// Shapes beside the sizes of tiles, then every output type and epilogue, for sums of E4M3 codes with a scale for each
/// row: for one kernel.
inline void compare_everything(const std::string& what, Random& random, const std::vector<Matmul>& products,
                               const Multiply& expected, const Multiply& got) {
  for (const Matmul& product : products) compare(what, product, expected, got);
  Matmul product = products.back();
  for (const Epilogue epilogue : {Epilogue::a_b, Epilogue::b_a, Epilogue::ab}) {
    product.policy.epilogue = epilogue;
    product.with_bias = !product.with_bias;
    compare(what, product, expected, got);
  }
  for (const OutDtype type : {OutDtype::bfloat16, OutDtype::float16, OutDtype::float8_e4m3fn}) {
    product.policy.out_dtype = type;
    product.policy.out_scale = type == OutDtype::float8_e4m3fn ? 0.0625f : 1.0f;
    product.policy.overflow = product.with_bias ? Overflow::nan : Overflow::saturate;
    product.with_bias = !product.with_bias;
    compare(what, product, expected, got);
  }
  product.policy.overflow = Overflow::nan;
  compare(what, product, expected, got);
  product.one_scale();
  compare(what + " with one scale", product, expected, got);
  product.one_scale_per_row(random);
}

}  // namespace fp8ref::test
