// SPDX-License-Identifier: Apache-2.0
// grouped_mm over arrays (spec/grouped_mm.md): a scaled_mm for every expert that has rows. Many small groups run in
// parallel, each on one thread; otherwise one after the other, each in parallel.
#include "fp8ref/grouped_mm.h"

#include <algorithm>
#include <vector>

#include "fp8ref/cpu.h"
#include "parallel.h"

namespace fp8ref::cpu {
namespace {

std::int64_t size_of(OutDtype type) { return type == OutDtype::float32 ? 4 : type == OutDtype::float8_e4m3fn ? 1 : 2; }

/// The product of one expert.
ScaledMmArgs group(const GroupedMmArgs& args, std::int64_t expert) {
  const std::int64_t row = args.offsets[expert];
  ScaledMmArgs one = args.all;
  one.m = args.offsets[expert + 1] - row;
  one.a = static_cast<const std::uint8_t*>(one.a) + row * one.k;  // codes are bytes
  one.b = static_cast<const std::uint8_t*>(one.b) + expert * one.n * one.k;
  one.a_scale.data = one.a_scale.of_row(row);
  one.b_scale.data += expert * args.b_scale_stride;
  if (one.bias != nullptr) one.bias += expert * one.n;
  one.out = static_cast<unsigned char*>(one.out) + row * one.n * size_of(one.out_dtype);
  return one;
}

}  // namespace

void grouped_mm(const GroupedMmArgs& args) {
  std::vector<std::int64_t> experts;  // those with rows [GROUPED-EMPTY]
  std::int64_t rows = 0, largest = 0;
  for (std::int64_t e = 0; e < args.experts; ++e) {
    const std::int64_t m = args.offsets[e + 1] - args.offsets[e];
    if (m > 0) experts.push_back(e);
    rows += m;
    largest = std::max(largest, m);
  }
  const auto count = static_cast<std::int64_t>(experts.size());
  auto run = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) scaled_mm(group(args, experts[static_cast<std::size_t>(i)]));
  };
  // Only where no group is so large that the other threads would wait for it.
  if (largest * threads() * 4 <= rows) {
    parallel_for(count, 1, run);
  } else {
    run(0, count);
  }
}

}  // namespace fp8ref::cpu
