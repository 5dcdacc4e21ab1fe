// SPDX-License-Identifier: Apache-2.0
// attention by a tensor core: the kernel for Hopper's own unit and the one for all others, against the CPU.
#include <cmath>
#include <string>
#include <vector>

#include "cuda/attention_unit.h"
#include "cuda/attention_weight.h"
#include "fp8ref/cpu.h"
#include "hidden.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

struct Shape {
  std::int64_t q_len, kv_len, kv_heads, group, head_dim;
  Mask mask = Mask::causal;
  std::int64_t chunk = 0;
};

/// Inputs whose keys and values may be changed before the comparison.
struct Problem {
  Problem(const Shape& s, std::uint64_t seed, float sigma = 1.0f) : shape(s), random(seed) {
    const std::int64_t heads = s.kv_heads * s.group;
    q = random_normal(random, s.q_len * heads * s.head_dim, sigma);
    k = random_normal(random, s.kv_len * s.kv_heads * s.head_dim, sigma);
    v = random_normal(random, s.kv_len * s.kv_heads * s.head_dim);
  }

  /// Where keys and values are given, they are for CUDA.
  void compare(const std::string& what, Accumulate accumulate, cuda::Repair repair = cuda::Repair::special,
               const bf16* cuda_k = nullptr, const bf16* cuda_v = nullptr) const {
    std::vector<bf16> expected(q.size()), got(q.size());
    AttentionArgs args{};
    args.q = q.data();
    args.k = k.data();
    args.v = v.data();
    args.q_len = shape.q_len;
    args.kv_len = shape.kv_len;
    args.q_heads = shape.kv_heads * shape.group;
    args.kv_heads = shape.kv_heads;
    args.head_dim = shape.head_dim;
    args.log2e_scale = cpu::attention_log2e_scale(shape.head_dim);
    args.mask = shape.mask;
    args.chunk = shape.chunk;
    args.accumulate = accumulate;
    args.out = expected.data();
    cpu::attention(args);
    args.out = got.data();
    if (cuda_k != nullptr) args.k = cuda_k;
    if (cuda_v != nullptr) args.v = cuda_v;
    cuda::attention_unit(args, nullptr, repair);
    equal(what + " " + std::to_string(shape.q_len) + "x" + std::to_string(shape.kv_len), expected, got);
  }

  Shape shape;
  Random random;
  std::vector<bf16> q, k, v;
};

void set(std::vector<bf16>& x, std::int64_t i, std::uint16_t bits) { x[static_cast<std::size_t>(i)].bits = bits; }

void test_weights() {
  std::vector<std::uint32_t> thresholds;
  for (int i = 0; i < 128; ++i) thresholds.push_back(weight_threshold(i));
  std::int64_t different = 0;
  for (std::uint64_t u = 0; u < std::uint64_t{1} << 32; u += 1021) {
    const auto t = bit_cast<float>(static_cast<std::uint32_t>(u));
    if (!(std::fabs(t) < INFINITY)) continue;
    different += !(cuda::weight_of_finite(t, thresholds.data()) == attention_weight(t));
  }
  check(different == 0, "weights in 32 bits: " + std::to_string(different));
}

void test_shapes() {
  const Shape shapes[] = {{1, 1, 1, 1, 64},
                          {1, 300, 2, 4, 64},
                          {5, 133, 1, 2, 80},
                          {40, 140, 2, 3, 96},
                          {1, 2300, 1, 3, 64},
                          {20, 2200, 1, 8, 128},
                          {3, 260, 1, 1, 64, Mask::full},
                          {2, 0, 1, 1, 64, Mask::full}};
  for (const Shape& shape : shapes) {
    const Problem problem(shape, 1);
    problem.compare("sm90", Accumulate::sm90, cuda::Repair::none);
  }
}

/// Chunks that begin between and within blocks, superblocks and tiles of rows.
void test_chunks() {
  for (const std::int64_t chunk : {1, 100, 128, 130, 2048, 2100}) {
    for (Shape shape : {Shape{1, 2300, 1, 3, 64}, Shape{20, 2200, 1, 2, 64}, Shape{140, 260, 1, 1, 80}}) {
      shape.mask = Mask::chunked;
      shape.chunk = chunk;
      Problem(shape, 11).compare("chunks of " + std::to_string(chunk), Accumulate::sm90, cuda::Repair::none);
    }
    Problem({30, 150, 1, 2, 24, Mask::chunked, chunk}, 12).compare("scalar, chunks", Accumulate::sm80);
  }
  for (const std::int64_t key : {0, 99, 100, 149}) {  // some rows do not see it
    Problem values({30, 150, 1, 2, 64, Mask::chunked, 50}, 13);
    set(values.v, key * 64 + 7, 0x7F80);
    set(values.k, key * 64 + 9, 0x7FC0);
    values.compare("special v and k of chunks", Accumulate::sm90);
  }
}

/// Keys and values of the chunks before are not read, by runs of one block (one kv head) and of a superblock.
void test_hidden_chunks() {
  for (const Accumulate mode : {Accumulate::sm80, Accumulate::sm90}) {
    for (const std::int64_t kv_heads : {1, 2}) {
      const Problem problem({3, 5000, kv_heads, 2, 64, Mask::chunked, 2400}, 14);
      const std::int64_t hidden = 4736 * kv_heads * 64;  // up to the block that key 4800 is in
      const Hidden k(problem.k, hidden), v(problem.v, hidden);
      problem.compare("chunks that are not read", mode, cuda::Repair::special, k.data(), v.data());
    }
  }
}

/// Equal weights and values that cancel: what is left are the roundings, so the order of all merges shows. A chunk's
/// values cancel by themselves, and it begins within a superblock.
void test_order() {
  for (const Shape& shape :
       {Shape{1, 4400, 1, 2, 64}, Shape{150, 4400, 1, 2, 64}, Shape{1, 4400, 1, 2, 64, Mask::chunked, 2200}}) {
    Problem problem(shape, 10);
    for (bf16& x : problem.q) x.bits = 0;
    for (bf16& x : problem.v) {  // of 24 binades
      x.bits = static_cast<std::uint16_t>((x.bits & 0x807F) | (115 + problem.random() % 24) << 7);
    }
    for (std::int64_t first = shape.chunk, last = shape.kv_len - 1; first < last; ++first, --last) {
      for (std::int64_t i = 0; i < 64; ++i) {
        set(problem.v, last * 64 + i, problem.v[static_cast<std::size_t>(first * 64 + i)].bits ^ 0x8000);
      }
    }
    problem.compare("cancelling values", Accumulate::sm90, cuda::Repair::none);
  }
}

void test_other_units() {
  for (const Accumulate mode : {Accumulate::sm80, Accumulate::sm89, Accumulate::sm90}) {
    Problem({3, 150, 2, 2, 24}, 2).compare("scalar", mode);
    Problem({2, 140, 1, 2, 64}, 3).compare("scalar or not", mode);
  }
}

/// NaN and infinities, in keys and values that some rows see and others do not.
void test_special_values() {
  for (const std::uint16_t bits : {0x7FC0, 0x7F80, 0xFF80}) {
    for (const std::int64_t key : {0, 100, 128, 149}) {
      Problem values({30, 150, 1, 2, 64}, 4);
      set(values.v, key * 64 + 7, bits);
      values.compare("special v", Accumulate::sm90);
      Problem keys({30, 150, 1, 2, 64}, 5);
      set(keys.k, key * 64 + 9, bits);
      keys.compare("special k", Accumulate::sm90);
    }
  }
  Problem both({30, 150, 1, 2, 64}, 6);
  set(both.v, 64 * 3, 0x7F80);
  set(both.v, 64 * 140, 0xFF80);
  both.compare("infinities of both signs", Accumulate::sm90);
}

/// Exponents far apart: weights and factors that vanish, blocks without terms, large values that overflow.
void test_ranges() {
  for (const float sigma : {1e-3f, 10.0f, 1e3f, 1e12f}) {
    Problem({4, 400, 1, 2, 64}, 7, sigma).compare("range", Accumulate::sm90);
  }
  Problem large({4, 400, 1, 1, 64}, 8);
  for (bf16& x : large.v) x.bits = static_cast<std::uint16_t>((x.bits & 0x807F) | 0x7F00);
  large.compare("large values", Accumulate::sm90);
  Problem empty({4, 300, 1, 1, 64}, 9, 4.0f);
  for (std::size_t i = 0; i < 64; ++i) empty.q[i].bits = 0x3F80;  // the first row
  for (std::size_t i = 128 * 64; i < 256 * 64; ++i) empty.k[i].bits = i % 64 == 0 ? 0xFF80 : 0;
  empty.compare("a block without terms", Accumulate::sm90);
}

}  // namespace

int main() {
  test_weights();
  in_both_orders([] {
    test_shapes();
    test_chunks();
    test_hidden_chunks();
    test_order();
    test_other_units();
    test_special_values();
    test_ranges();
  });
  return finish("simt attention_unit");
}
