// SPDX-License-Identifier: Apache-2.0
// rmsnorm: rows of a warp, of a block, and those that do not fit or are not aligned.
#include "fp8ref/cpu.h"
#include "fp8ref/cuda.h"
#include "hostile.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

void test_rmsnorm(Rows kind, std::int64_t rows, std::int64_t cols, int offset, const bf16* weight) {
  Random random(static_cast<std::uint64_t>(rows * 7919 + cols));
  Placed<bf16> x(hostile<bf16>(random, kind, rows, cols), offset), out(rows * cols, offset);
  std::vector<bf16> expected(static_cast<std::size_t>(rows * cols));
  cpu::rmsnorm(x.data(), weight, rows, cols, 1e-5f, expected.data());
  cuda::rmsnorm(x.data(), weight, rows, cols, 1e-5f, out.data(), nullptr);
  equal("rmsnorm " + std::to_string(rows) + " x " + std::to_string(cols), expected, out.values());
}

/// Squares whose sum is a midpoint of fp32, and one more far below: the bracket is open, the exact sum decides.
void test_open_bracket() {
  for (const float small : {0.0f, 0x1p-20f}) {
    Placed<bf16> x(8 * 40, 0);
    x.data()[0] = rnbf(4096.0f);  // 2^24
    x.data()[9] = rnbf(1.0f);     // half of its ulp
    x.data()[319] = rnbf(small);
    std::vector<bf16> expected(320), out(320);
    cpu::rmsnorm(x.data(), nullptr, 1, 320, 1e-5f, expected.data());
    cuda::rmsnorm(x.data(), nullptr, 1, 320, 1e-5f, out.data(), nullptr);
    equal("rmsnorm of a midpoint", expected, out);
  }
}

}  // namespace

int main() {
  in_both_orders([] {
    Random random(4);
    const Placed<bf16> weights(hostile<bf16>(random, Rows::special, 1, 40000), 0);
    const bf16* weight = const_cast<Placed<bf16>&>(weights).data();
    for (const Rows kind : kAllRows) {
      for (const std::int64_t cols : {1, 7, 8, 128, 1000, 1024, 1032, 1100, 4096}) {
        test_rmsnorm(kind, 3, cols, 0, cols % 3 == 0 ? nullptr : weight);
      }
      test_rmsnorm(kind, 5, 128, 1, weight);
    }
    for (const std::int64_t rows : {0, 1, 4, 5, 9}) test_rmsnorm(Rows::normal, rows, 64, 0, weight);
    for (const std::int64_t cols : {32768, 32776}) test_rmsnorm(Rows::normal, 1, cols, 0, weight);
    test_open_bracket();
  });
  return finish("simt rmsnorm");
}
