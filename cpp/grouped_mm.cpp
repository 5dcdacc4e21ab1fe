// SPDX-License-Identifier: Apache-2.0
// grouped_mm over arrays (spec/grouped_mm.md): a scaled_mm for every expert that has rows.
#include "fp8ref/grouped_mm.h"

#include <algorithm>
#include <vector>

#include "fp8ref/cpu.h"
#include "groups.h"
#include "parallel.h"

namespace fp8ref::cpu {
namespace {

std::int64_t size_of(OutDtype type) { return type == OutDtype::float32 ? 4 : type == OutDtype::float8_e4m3fn ? 1 : 2; }

}  // namespace

ScaledMmArgs group(const GroupedMmArgs& args, std::int64_t expert) {
  const std::int64_t row = args.offsets[expert];
  ScaledMmArgs one = args.all;
  one.m = args.offsets[expert + 1] - row;
  one.a = static_cast<const std::uint8_t*>(one.a) + row * one.k;  // codes are bytes
  if (one.b != nullptr) one.b = static_cast<const std::uint8_t*>(one.b) + expert * one.n * one.k;
  one.a_scale.data = one.a_scale.of_row(row);
  one.b_scale.data += expert * args.b_scale_stride;
  if (one.bias != nullptr) one.bias += expert * one.n;
  one.out = static_cast<unsigned char*>(one.out) + row * one.n * size_of(one.out_dtype);
  return one;
}

void for_groups(const std::int64_t* offsets, std::int64_t experts,
                const std::function<void(std::int64_t, std::int64_t, std::int64_t)>& body) {
  std::vector<std::int64_t> taken;  // experts with rows
  std::int64_t rows = 0, largest = 0;
  for (std::int64_t e = 0; e < experts; ++e) {
    const std::int64_t m = offsets[e + 1] - offsets[e];
    if (m > 0) taken.push_back(e);
    rows += m;
    largest = std::max(largest, m);
  }
  const auto count = static_cast<std::int64_t>(taken.size());
  auto run = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t e = taken[static_cast<std::size_t>(i)];
      body(e, offsets[e], offsets[e + 1] - offsets[e]);
    }
  };
  // Only where no group is so large that the other threads would wait for it.
  if (largest * threads() * 4 <= rows) {
    parallel_for(count, 1, run);
  } else {
    run(0, count);
  }
}

void grouped_mm(const GroupedMmArgs& args) {
  for_groups(args.offsets, args.experts,
             [&](std::int64_t expert, std::int64_t, std::int64_t) { scaled_mm(group(args, expert)); });
}

}  // namespace fp8ref::cpu
