// SPDX-License-Identifier: Apache-2.0
// attention against the CPU: every kernel's shapes, grouped heads, all masks, ties, and values that nobody may see.
#include <vector>

#include "fp8ref/cpu.h"
#include "fp8ref/cuda.h"
#include "hidden.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

struct Shape {
  std::int64_t t, s, q_heads, kv_heads, d;
};

struct Problem {
  Shape shape;
  std::vector<bf16> q, k, v;
};

std::string name(const Shape& s) {
  return std::to_string(s.t) + " queries, " + std::to_string(s.s) + " keys, heads " + std::to_string(s.q_heads) + "/" +
         std::to_string(s.kv_heads) + ", d " + std::to_string(s.d);
}

Problem random_problem(Random& random, const Shape& s) {
  return {s, random_normal(random, s.t * s.q_heads * s.d), random_normal(random, s.s * s.kv_heads * s.d),
          random_normal(random, s.s * s.kv_heads * s.d)};
}

void compare(const std::string& what, const Problem& p, Mask mask, float c, std::int64_t chunk = 0) {
  const Shape& s = p.shape;
  std::vector<bf16> expected(p.q.size()), got(p.q.size());
  AttentionArgs args{p.q.data(), p.k.data(), p.v.data(), s.t, s.s, s.q_heads, s.kv_heads, s.d, c, mask, nullptr};
  args.chunk = chunk;
  args.out = expected.data();
  cpu::attention(args);
  args.out = got.data();
  cuda::attention(args, nullptr);
  const char* const masks[] = {" causal: ", " chunked: ", " full: "};
  equal(what + masks[static_cast<int>(mask)] + name(s), expected, got);
}

void compare(const std::string& what, const Problem& p, Mask mask) {
  compare(what, p, mask, cpu::attention_log2e_scale(p.shape.d));
}

// A head_dim of each kernel and of none; rows of 1 to 8 heads and queries; keys of less than a tile and of several.
constexpr Shape kShapes[] = {{1, 1, 1, 1, 1},    {1, 33, 2, 1, 8},    {3, 3, 2, 2, 5},    {2, 40, 4, 1, 24},
                             {1, 150, 4, 1, 64}, {1, 140, 3, 1, 80},  {2, 37, 8, 2, 64},  {4, 70, 2, 1, 96},
                             {1, 300, 8, 1, 64}, {40, 40, 2, 1, 64},  {20, 75, 2, 1, 80}, {17, 17, 4, 4, 128},
                             {33, 70, 1, 1, 96}, {1, 300, 32, 8, 64}, {1, 129, 2, 2, 128}};

void test_shapes() {
  Random random(21);
  for (const Shape& s : kShapes) {
    const Problem p = random_problem(random, s);
    compare("normal", p, Mask::causal);
    compare("normal", p, Mask::full);
  }
  for (const Shape& s : {Shape{0, 3, 2, 1, 8}, Shape{2, 2, 0, 1, 8}})
    compare("empty", random_problem(random, s), Mask::causal);
  compare("no keys", random_problem(random, {2, 0, 2, 1, 64}), Mask::full);
}

/// Chunks of less than a tile of keys and of more, that begin between and within the tiles of rows and of keys.
void test_chunks() {
  Random random(25);
  for (const Shape& s : kShapes) {
    const Problem p = random_problem(random, s);
    for (const std::int64_t chunk : {1, 7, 16, 33, 100, 1000}) {
      compare("chunks of " + std::to_string(chunk), p, Mask::chunked, cpu::attention_log2e_scale(s.d), chunk);
    }
  }
  for (const Shape& s : {Shape{150, 200, 1, 1, 64}, Shape{130, 130, 2, 1, 64}, Shape{9, 700, 1, 1, 64}}) {
    const Problem p = random_problem(random, s);
    for (const std::int64_t chunk : {5, 64, 129}) {
      compare("chunks of " + std::to_string(chunk), p, Mask::chunked, cpu::attention_log2e_scale(s.d), chunk);
    }
  }
}

/// Keys and values of the chunks before are not read: they lie in pages that no one may read.
void test_hidden_chunks() {
  constexpr std::int64_t kKeys = 1200, kFirst = 1024;
  Random random(26);
  for (const Shape& s : {Shape{1, kKeys, 2, 1, 64}, Shape{40, kKeys, 1, 1, 64}, Shape{3, kKeys, 1, 1, 32}}) {
    Problem p = random_problem(random, s);
    const Hidden k(p.k, kFirst * s.d), v(p.v, kFirst * s.d);
    std::vector<bf16> expected(p.q.size()), got(p.q.size());
    AttentionArgs args{p.q.data(), p.k.data(),    p.v.data(),     s.t, s.s, s.q_heads, s.kv_heads, s.d,
                       0.1f,       Mask::chunked, expected.data()};
    args.chunk = 512;
    cpu::attention(args);
    args.k = k.data();
    args.v = v.data();
    args.out = got.data();
    cuda::attention(args, nullptr);
    equal("chunks that are not read: " + name(s), expected, got);
  }
}

/// Scores and values of any magnitude: weights that differ by any power of two, ties, rows that break.
void test_any_bits() {
  constexpr std::uint16_t kValues[] = {0x3F80, 0xBF80, 0x3F81, 0,      0x8000, 0x0001,
                                       0x8001, 0x7F7F, 0x4000, 0x3F82, 0x5D80};
  Random random(22);
  for (const Shape& s : {Shape{1, 9, 2, 1, 3}, Shape{1, 12, 1, 1, 64}, Shape{17, 18, 1, 1, 64}}) {
    Problem p = random_problem(random, s);
    p.q = random_bits<bf16>(random, static_cast<std::int64_t>(p.q.size()));
    p.k = random_bits<bf16>(random, static_cast<std::int64_t>(p.k.size()));
    compare("any scores", p, Mask::causal);
    p = random_problem(random, s);
    for (bf16& v : p.v) v.bits = kValues[random() % std::size(kValues)];
    for (std::size_t i = 0; i < p.k.size(); ++i) p.k[i].bits = i % 3 == 0 ? p.k[i].bits : 0;
    compare("any values", p, Mask::causal);
    compare("equal weights", p, Mask::full, 0.0f);
    compare("far weights", p, Mask::causal, 300.0f);
  }
}

/// NaN and infinities of v: in keys that nobody sees, that one query sees, and that all do. [ATTN-VALUES]
void test_specials() {
  Random random(23);
  for (const Shape& s : {Shape{3, 40, 2, 1, 6}, Shape{3, 40, 2, 1, 64}, Shape{24, 40, 1, 1, 64}}) {
    Problem p = random_problem(random, s);
    const auto at = [&](std::int64_t key, std::int64_t i) { return static_cast<std::size_t>(key * s.d + i); };
    p.v[at(39, 0)].bits = 0x7FC0;
    p.v[at(39, 1)].bits = 0xFF80;
    p.v[at(38, 1)].bits = 0x7F80;
    p.v[at(2, 2)].bits = 0x7F80;
    p.v[at(38, 3)].bits = 0x7F80;
    p.k[at(39, 2)].bits = 0x7F80;  // a score of +Inf or -Inf for the last query
    compare("specials", p, Mask::causal);
    compare("specials", p, Mask::full);
    p.k[at(1, 4)].bits = 0x7FC0;
    compare("broken", p, Mask::causal);
    for (const std::int64_t chunk : {19, 38, 39}) {  // which hide some of them from some queries
      compare("specials by chunks", p, Mask::chunked, cpu::attention_log2e_scale(s.d), chunk);
    }
  }
}

/// Scores whose float64 sums are off by more than the weights bear: only a bound of the right size notices.
void test_cancellation() {
  Random random(24);
  for (const Shape& s : {Shape{1, 40, 1, 1, 8}, Shape{1, 140, 1, 1, 64}, Shape{17, 70, 1, 1, 64}}) {
    Problem p = random_problem(random, s);
    for (std::size_t i = 0; i < p.q.size(); i += static_cast<std::size_t>(s.d)) p.q[i].bits = p.q[i + 2].bits = 0x5D80;
    for (std::size_t i = 0; i < p.k.size(); i += static_cast<std::size_t>(s.d)) {
      if (i % 3 == 0) p.k[i].bits = p.k[i + 2].bits = 0;
      p.k[i + 2].bits = p.k[i].bits ^ 0x8000;
    }
    compare("cancellation", p, Mask::causal);
  }
  Problem p = random_problem(random, {1, 70, 1, 1, 5});  // ties among more keys than a warp has threads
  for (std::size_t i = 0; i < p.v.size(); ++i) p.v[i].bits = 2 * i < p.v.size() ? 0x3F81 : 0x3F80;
  compare("ties", p, Mask::full, 0.0f);
}

struct Example {
  std::vector<std::uint16_t> k, v;
  std::uint16_t out;
};

/// The examples of spec/attention.md: d = 1, q = 1, c = RN32(log2(e)); also in column 5 of a head of 64 dimensions, of
/// one query and of as many as fill a tile.
void test_examples() {
  constexpr std::uint16_t kInf = 0x7F80, kMinusInf = 0xFF80, kLow = 0xF149;  // about -1e30
  const Example examples[] = {{{0, 0}, {0x3F80, 0x3F81}, 0x3F80},
                              {{0, 0}, {0x3F81, 0x3F82}, 0x3F82},
                              {{0, 0, kLow}, {0x3F80, 0x3F81, 0x4000}, 0x3F81},
                              {{0, 0, kLow}, {0x3F80, 0x3F81, 0x3F80}, 0x3F80},
                              {{0, 0xBF80}, {0x3F80, 0}, 0x3F3B},
                              {{0, kLow}, {0, 0xBF80}, 0x8000},
                              {{0, 0}, {0x3F80, 0xBF80}, 0},
                              {{0, 0, kLow}, {0x3F80, 0xBF80, 1}, 0},
                              {{0, kLow}, {0, kInf}, kInf},
                              {{0, kMinusInf}, {0x3F80, 0x7FC0}, 0x3F80},
                              {{kMinusInf, kMinusInf}, {0x3F80, 0x4000}, 0},
                              {{kInf, 0}, {0x3F80, 0x3F80}, 0x7FC0},
                              {{0, 0}, {kInf, kMinusInf}, 0x7FC0}};
  for (const Shape& form : {Shape{1, 0, 1, 1, 1}, Shape{1, 0, 1, 1, 64}, Shape{17, 0, 1, 1, 64}}) {
    for (const Example& e : examples) {
      const auto keys = static_cast<std::int64_t>(e.k.size()), d = form.d, column = d > 5 ? std::int64_t{5} : 0;
      std::vector<bf16> q(static_cast<std::size_t>(form.t * d)), k(static_cast<std::size_t>(keys * d)), v(k), out(q);
      for (std::int64_t i = 0; i < form.t; ++i) q[static_cast<std::size_t>(i * d)].bits = 0x3F80;
      for (std::int64_t j = 0; j < keys; ++j) {
        k[static_cast<std::size_t>(j * d)].bits = e.k[static_cast<std::size_t>(j)];
        v[static_cast<std::size_t>(j * d + column)].bits = e.v[static_cast<std::size_t>(j)];
      }
      cuda::attention({q.data(), k.data(), v.data(), form.t, keys, 1, 1, d, cpu::attention_log2e_scale(1.0), Mask::full,
                       out.data()},
                      nullptr);
      for (std::int64_t i = 0; i < form.t; ++i) {
        const std::uint16_t got = out[static_cast<std::size_t>(i * d + column)].bits;
        check(got == e.out, "examples: " + std::to_string(&e - examples) + " d " + std::to_string(d));
      }
    }
  }
}

}  // namespace

int main() {
  in_both_orders([] {
    test_examples();
    test_shapes();
    test_chunks();
    test_hidden_chunks();
    test_any_bits();
    test_specials();
    test_cancellation();
  });
  return finish("simt attention");
}
