// SPDX-License-Identifier: Apache-2.0
// scaled_mm by its kernels, against the CPU backend.
#include <cstdlib>
#include <vector>

#include "compare.h"
#include "cuda/exact.h"
#include "cuda/toom.h"
#include "fp8ref/cpu.h"
#include "fp8ref/cuda.h"
#include "matmul.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

void expected(const GroupedMmArgs& args) { cpu::scaled_mm(args.all); }
void dispatched(const GroupedMmArgs& args) { cuda::scaled_mm(args.all, nullptr); }

/// One kernel of `exact`, and the shapes to try it with: {m, n, k}.
struct Kernel {
  const char* name;
  std::function<void(const GroupedMmArgs&, std::int64_t)> run_spans;
  std::vector<std::vector<std::int64_t>> shapes;

  void run(const GroupedMmArgs& args) const { run_spans(args, cuda::kSpan); }
};

const std::vector<Kernel>& kernels() {
  static const std::vector<Kernel> all = {
      {"scalar",
       [](const GroupedMmArgs& args, std::int64_t) { cuda::scaled_mm_scalar(args, nullptr); },
       {{1, 1, 0}, {1, 3, 1}, {2, 8, 16}, {7, 129, 31}, {17, 3, 128}, {6, 9, 300}}},
      {"f64",
       [](const GroupedMmArgs& args, std::int64_t span) { cuda::scaled_mm_f64(args, nullptr, span); },
       {{1, 1, 0}, {2, 3, 1}, {17, 8, 31}, {130, 3, 128}, {16, 129, 208}, {7, 40, 300}, {65, 9, 72}}},
      {"f16",
       [](const GroupedMmArgs& args, std::int64_t span) { cuda::scaled_mm_f16(args, nullptr, span); },
       {{1, 1, 0}, {1, 3, 1}, {2, 8, 16}, {7, 33, 31}, {17, 40, 128}, {8, 129, 640}, {16, 9, 1101}, {6, 40, 80}}},
      {"s8",
       [](const GroupedMmArgs& args, std::int64_t span) { cuda::scaled_mm_s8(args, nullptr, span); },
       {{1, 1, 0}, {2, 3, 1}, {17, 8, 31}, {130, 3, 128}, {16, 129, 208}, {7, 40, 300}, {65, 9, 72}}},
  };
  return all;
}

/// The five values of every code, and every product put together from theirs.
void test_points() {
  constexpr cuda::PointTable table = cuda::point_table();
  const auto value = [&](int code, int point) {
    return static_cast<int>(static_cast<std::int8_t>(table.of[code] >> (8 * point) & 0xFF));
  };
  for (int a = 0; a < 256; ++a) {
    const bool nan = (a & 0x7F) == 0x7F;
    for (int p = 0; p < cuda::kPoints; ++p) check(std::abs(value(a, p)) <= cuda::kMostValue, "values at points");
    for (int b = 0; b < 256; ++b) {
      std::int64_t sum = 0;
      for (int p = 0; p < cuda::kPoints; ++p) sum += cuda::point_weight(p) * value(a, p) * value(b, p);
      const std::int64_t x = e4m3_fixed(e4m3{static_cast<std::uint8_t>(a)});
      const std::int64_t y = e4m3_fixed(e4m3{static_cast<std::uint8_t>(b)});
      check(sum == (nan || (b & 0x7F) == 0x7F ? 0 : 6 * x * y), "products from points");
    }
  }
}

void test_kernels() {
  Random random(4);
  for (const Kernel& kernel : kernels()) {
    std::vector<Matmul> products;
    for (const auto& shape : kernel.shapes) products.emplace_back(random, shape[0], shape[1], shape[2]);
    compare_everything(kernel.name, random, products, expected, [&](const GroupedMmArgs& args) { kernel.run(args); });
  }
}

/// NaN codes decide rows and columns; the largest codes fill the sums; random scales may be special.
void test_values() {
  Random random(5);
  for (const Kernel& kernel : kernels()) {
    Matmul product(random, 21, 35, 128);  // large sums that cancel, but for what odd codes far below leave
    std::fill(product.a.begin(), product.a.end(), std::uint8_t{0x7E});
    for (std::size_t i = 0; i < product.b.size(); ++i) product.b[i] = i % 128 < 64 ? 0xFE : 0x7E;
    for (std::size_t i = 0; i < product.a.size(); i += 5) product.a[i] = i % 2 == 0 ? 0x38 : 0x01;
    for (std::size_t i = 0; i < product.b.size(); i += 43) product.b[i] = i % 2 == 0 ? 0xBD : 0xB1;
    compare(std::string(kernel.name) + " of largest codes", product, expected,
            [&](const GroupedMmArgs& args) { kernel.run(args); });
    product.a[5 * 128 + 79] = 0x7F;
    product.b[20 * 128] = 0xFF;
    product.b[34 * 128 + 127] = 0x7F;
    compare(std::string(kernel.name) + " of NaN codes", product, expected,
            [&](const GroupedMmArgs& args) { kernel.run(args); });
    Matmul zeros(random, 5, 5, 70);
    for (std::size_t i = 0; i < zeros.a.size(); ++i) zeros.a[i] = i % 2 == 0 ? 0x80 : 0x00;
    zeros.a_scale = {0.0f, 1.0f, INFINITY, NAN, 0x1p-149f};
    compare(std::string(kernel.name) + " of zeros", zeros, expected,
            [&](const GroupedMmArgs& args) { kernel.run(args); });
    Matmul tiny(random, 5, 5, 70);
    for (std::uint8_t& code : tiny.a) code &= 0x87;
    for (std::uint8_t& code : tiny.b) code &= 0x8F;
    tiny.a_scale = zeros.a_scale;
    compare(std::string(kernel.name) + " of subnormal codes", tiny, expected,
            [&](const GroupedMmArgs& args) { kernel.run(args); });
  }
}

/// What only some kernels do, by way of the choice among them.
void test_choice() {
  Random random(6);
  for (const auto& shape : std::vector<std::vector<std::int64_t>>{{0, 3, 5}, {3, 0, 5}, {2, 2, 0}, {3, 5, 40}}) {
    compare("scaled_mm", Matmul(random, shape[0], shape[1], shape[2]), expected, dispatched);
  }
  for (const Operand a_type : {Operand::e4m3, Operand::e5m2}) {
    for (const Operand b_type : {Operand::e4m3, Operand::e5m2}) {
      Matmul product(random, 5, 9, 200);
      product.policy.a_type = a_type;
      product.policy.b_type = b_type;
      compare("operand types", product, expected, dispatched);
      product.block_scales(random, 0);
      compare("operand types with blocks", product, expected, dispatched);
    }
  }
  Matmul units(random, 3, 5, 200);
  for (const Accumulate unit : {Accumulate::sm90_wgmma, Accumulate::sm90_wgmma_promoted, Accumulate::sm89_mma}) {
    units.policy.accumulate = unit;
    units.policy.split_k = 2;
    compare("unit", units, expected, dispatched);
  }
}

/// K in more than one span: totals of int64 between them, and NaN codes in any of them. The scalar kernel has none.
void test_spans() {
  Random random(9);
  for (const Kernel& kernel : kernels()) {
    Matmul product(random, 5, 9, 300);
    product.a[2 * 300 + 3] = 0x7F;
    product.b[4 * 300 + 130] = 0xFF;
    product.b[6 * 300 + 299] = 0x7F;
    for (const std::int64_t span : {64, 192}) {
      compare(std::string(kernel.name) + " by spans", product, expected,
              [&](const GroupedMmArgs& args) { kernel.run_spans(args, span); });
    }
  }
  Matmul longest(random, 2, 3, 171197);  // as long as it takes for fp64 to fail
  for (std::uint8_t* codes : {longest.a.data(), longest.b.data()}) std::fill_n(codes, longest.k, std::uint8_t{0x7E});
  longest.b[171196] = 0x01;
  compare("k beyond one span", longest, expected, dispatched);
}

/// Scales of blocks: every order, rows in several workspaces, scales and codes that leave nothing to certify.
void test_blocks() {
  Random random(7);
  for (const int row_bits : {0, 7}) {
    for (const Epilogue epilogue : {Epilogue::a_b, Epilogue::deepgemm, Epilogue::triton, Epilogue::triton_ba}) {
      Matmul product(random, 11, row_bits == 0 ? 9 : 131, 300);
      product.block_scales(random, row_bits);
      product.policy.epilogue = epilogue;
      compare("blocks", product, expected, dispatched);
      product.with_bias = true;
      product.policy.out_dtype = OutDtype::bfloat16;
      product.a[300 * 2 + 140] = 0x7F;
      product.a_scale[4] = INFINITY;
      product.a_scale[12] = 0x1p127f;
      product.b_scale[1] = 0x1p-149f;
      compare("special blocks", product, expected, dispatched);
      if (row_bits == 7) continue;
      compare("blocks of rows", product, expected,
              [](const GroupedMmArgs& args) { cuda::scaled_mm_blocks(args, nullptr, 3 * 9 * 3 * 8); });
    }
  }
  for (const auto& shape : std::vector<std::vector<std::int64_t>>{{1, 3, 0}, {3, 2, 128}, {9, 33, 144}, {2, 5, 1500}}) {
    Matmul product(random, shape[0], shape[1], shape[2]);
    product.block_scales(random, 0);
    compare("blocks", product, expected, dispatched);
    product.policy.out_dtype = OutDtype::float8_e4m3fn;
    product.policy.overflow = Overflow::nan;
    product.policy.out_scale = 0.25f;
    compare("blocks", product, expected, dispatched);
  }
}

/// Sums that only the exact path decides: a tie of the first two blocks, broken far below by the third.
void test_ties() {
  Random random(10);
  for (const std::uint8_t third : {0x38, 0x00, 0xB8}) {
    Matmul product(random, 1, 1, 300);
    product.block_scales(random, 0);
    std::fill(product.a.begin(), product.a.end(), std::uint8_t{0});
    std::fill(product.b.begin(), product.b.end(), std::uint8_t{0});
    for (const int at : {0, 128, 256})
      product.a[static_cast<std::size_t>(at)] = product.b[static_cast<std::size_t>(at)] = 0x38;
    product.b[256] = third;
    product.a_scale = {1, 1, 1};
    product.b_scale = {1, 0x1p-24f, 0x1p-100f};
    compare("a tie", product, expected, dispatched);
  }
}

}  // namespace

int main() {
  test_points();
  in_both_orders([] {
    test_kernels();
    test_values();
    test_choice();
    test_blocks();
    test_ties();
  });
  test_spans();
  return finish("simt scaled_mm");
}
