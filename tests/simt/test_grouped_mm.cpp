// SPDX-License-Identifier: Apache-2.0
// grouped_mm by its kernels, against the CPU backend: groups of every size, and rows of no expert.
#include <vector>

#include "compare.h"
#include "cuda/exact.h"
#include "fp8ref/cpu.h"
#include "fp8ref/cuda.h"
#include "matmul.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

void expected(const GroupedMmArgs& args) { cpu::grouped_mm(args); }
void dispatched(const GroupedMmArgs& args) { cuda::grouped_mm(args, nullptr); }

struct Kernel {
  const char* name;
  Multiply run;
};
const std::vector<Kernel>& kernels() {
  static const std::vector<Kernel> all = {
      {"dispatched", dispatched},
      {"scalar", [](const GroupedMmArgs& args) { cuda::scaled_mm_scalar(args, nullptr); }},
      {"f16", [](const GroupedMmArgs& args) { cuda::scaled_mm_f16(args, nullptr); }},
      {"s8", [](const GroupedMmArgs& args) { cuda::scaled_mm_s8(args, nullptr); }},
      {"f64", [](const GroupedMmArgs& args) { cuda::scaled_mm_f64(args, nullptr); }},
  };
  return all;
}

struct Groups {
  std::int64_t rows;
  std::vector<std::int64_t> offsets;
};

std::vector<Groups> divisions() {
  std::vector<Groups> all = {
      {0, {0, 0}}, {3, {0, 3}}, {3, {1, 1, 1}}, {5, {0, 2, 2, 5}}, {20, {2, 19, 19, 20, 20}}, {21, {0, 0, 0, 17, 18}},
  };
  Groups many{40, {1}};  // more experts than a warp has lanes
  for (int i = 0; i < 67; ++i) many.offsets.push_back(many.offsets.back() + (i % 3 == 1 ? i % 4 : 0));
  all.push_back(many);
  return all;
}

void test_divisions() {
  Random random(8);
  for (const Kernel& kernel : kernels()) {
    for (const Groups& groups : divisions()) {
      Matmul product(random, groups.rows, 9, 40, static_cast<std::int64_t>(groups.offsets.size()) - 1);
      product.offsets = groups.offsets;
      product.with_bias = true;
      compare(kernel.name, product, expected, kernel.run);
      product.one_scale();
      product.policy.out_dtype = OutDtype::bfloat16;
      compare(kernel.name, product, expected, kernel.run);
      if (groups.rows > 2) product.a[2 * 40 + 5] = 0x7F;
      product.block_scales(random, 7);
      if (kernel.name == std::string("dispatched")) compare(kernel.name, product, expected, kernel.run);
    }
  }
}

}  // namespace

int main() {
  in_both_orders([] { test_divisions(); });
  return finish("simt grouped_mm");
}
