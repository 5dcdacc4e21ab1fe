// SPDX-License-Identifier: Apache-2.0
// scaled_mm and grouped_mm by emulated tensor cores against the CPU backend: every unit, operand, scale and division of
// K.
#include <string>
#include <vector>

#include "compare.h"
#include "cuda/chains.h"
#include "fp8ref/cpu.h"
#include "matmul.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

void expected_product(const GroupedMmArgs& args) {
  if (args.offsets != nullptr) return cpu::grouped_mm(args);
  cpu::scaled_mm(args.all);
}
void got_product(const GroupedMmArgs& args) {
  if (args.offsets != nullptr) return cuda::chain_grouped_mm(args, nullptr);
  cuda::chain_scaled_mm(args.all, nullptr);
}

void compare_chains(const std::string& what, const Matmul& product) {
  compare(what + ", unit " + std::to_string(static_cast<int>(product.policy.accumulate)), product, expected_product,
          got_product);
}

constexpr Accumulate kUnitsOfFp8[] = {Accumulate::sm90_wgmma,    Accumulate::sm90_wgmma_promoted,
                                      Accumulate::sm89_mma,      Accumulate::sm90_mma_sync,
                                      Accumulate::sm100_tcgen05, Accumulate::sm120_mma};

enum class Data { any_bits, cancelling, tiny, special };

/// Codes as a step finds them hard; those of NaNs and infinities only where asked for.
void make_codes(Random& random, std::vector<std::uint8_t>& codes, Operand type, Data data, std::int64_t k) {
  const std::uint8_t infinity = type == Operand::e5m2 ? 0x7C : 0x7F;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    auto code = static_cast<std::uint8_t>(random());
    if (data == Data::tiny && random() % 4 != 0) code &= 0x8F;
    if (data == Data::cancelling && i % 2 == 1) code = static_cast<std::uint8_t>(codes[i - 1] ^ (random() % 2 << 7));
    if (random() % 8 == 0) code &= 0x80;
    const bool rare = data == Data::special && static_cast<std::int64_t>(i) / k % 3 == 0 && random() % 64 == 0;
    if ((code & 0x7F) >= infinity && !rare) code = 0x80;
    if (rare) code = static_cast<std::uint8_t>(infinity | (random() % 2 << 7));
    codes[i] = code;
  }
}

Matmul product_of(Random& random, std::int64_t m, std::int64_t n, std::int64_t k, Data data, Operand a, Operand b,
                  std::int64_t experts = 1) {
  Matmul product(random, m, n, k, experts);
  product.policy.a_type = a;
  product.policy.b_type = b;
  make_codes(random, product.a, a, data, k);
  make_codes(random, product.b, b, data, k);
  if (data == Data::cancelling) {  // pairs of a differ in their signs, those of b do not
    for (std::size_t i = 1; i < product.b.size(); i += 2) product.b[i] = product.b[i - 1];
  }
  return product;
}

void test_units() {
  Random random(21);
  constexpr Operand kTypes[] = {Operand::e4m3, Operand::e5m2};
  for (const Operand a : kTypes) {
    for (const Operand b : kTypes) {
      for (const Data data : {Data::any_bits, Data::cancelling, Data::tiny, Data::special}) {
        Matmul product = product_of(random, 9, 37, 1 + static_cast<std::int64_t>(random() % 100), data, a, b);
        for (const Accumulate unit : kUnitsOfFp8) {
          product.policy.accumulate = unit;
          compare_chains("units", product);
        }
      }
    }
  }
}

void test_parts() {
  Random random(22);
  for (const std::int64_t k : {0, 16, 300, 515}) {
    Matmul product = product_of(random, 3, 5, k, Data::any_bits, Operand::e4m3, Operand::e4m3);
    for (const Accumulate unit : {Accumulate::sm90_wgmma, Accumulate::sm90_wgmma_promoted, Accumulate::sm90_mma_sync}) {
      for (const std::int64_t parts : {1, 2, 9}) {
        product.policy.accumulate = unit;
        product.policy.split_k = parts;
        compare_chains("split_k " + std::to_string(parts), product);
      }
    }
  }
}

void test_scales() {
  Random random(23);
  std::vector<Matmul> products;
  for (const std::int64_t m : {65, 1}) {
    products.push_back(product_of(random, m, 66, 40, Data::any_bits, Operand::e4m3, Operand::e4m3));
    products.back().policy.accumulate = Accumulate::sm90_wgmma;
  }
  compare_everything("chains", random, products, expected_product, got_product);
  for (const Data data : {Data::any_bits, Data::special}) {
    Matmul product = product_of(random, 4, 7, 290, data, Operand::e5m2, Operand::e4m3);
    for (const int row_bits : {0, 7}) {
      product.block_scales(random, row_bits);
      for (const Epilogue epilogue : {Epilogue::deepgemm, Epilogue::triton, Epilogue::triton_ba}) {
        for (const Accumulate unit : {Accumulate::sm90_wgmma, Accumulate::sm89_mma, Accumulate::sm90_wgmma_promoted}) {
          product.policy.epilogue = epilogue;
          product.policy.accumulate = unit;
          product.with_bias = !product.with_bias;
          compare_chains("blocks", product);
        }
      }
    }
  }
}

void test_groups() {
  Random random(24);
  const std::vector<std::vector<std::int64_t>> divisions = {
      {0, 0}, {0, 3}, {1, 1, 1}, {2, 19, 19, 20, 20}, {0, 64, 130}, {0, 0, 0, 17, 18}};
  for (const std::vector<std::int64_t>& offsets : divisions) {
    Matmul product = product_of(random, offsets.back() + 1, 5, 33, Data::any_bits, Operand::e4m3, Operand::e4m3,
                                static_cast<std::int64_t>(offsets.size()) - 1);
    product.offsets = offsets;
    product.with_bias = true;
    product.policy.accumulate = Accumulate::sm90_wgmma;
    compare_chains("groups", product);
    product.block_scales(random, 7);
    product.policy.epilogue = Epilogue::triton;
    compare_chains("groups, blocks", product);
  }
}

}  // namespace

int main() {
  test_units();
  in_both_orders([] {
    test_parts();
    test_groups();
  });
  test_scales();
  return finish("simt chains");
}
