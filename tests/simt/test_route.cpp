// SPDX-License-Identifier: Apache-2.0
// route, dispatch and combine against the CPU: ties, experts that nobody or everybody chose, sorts of one block and of
// several, of one digit and of more.
#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "fp8ref/cpu.h"
#include "fp8ref/cuda.h"
#include "hostile.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

void compare_route(const std::string& what, const std::vector<bf16>& logits, std::int64_t tokens, std::int64_t experts,
                   std::int64_t top_k) {
  std::vector<std::int64_t> expected(size(tokens * top_k), -1), got(size(tokens * top_k), -2);
  std::vector<bf16> expected_scores(expected.size()), got_scores(expected.size());
  cpu::route(logits.data(), tokens, experts, top_k, expected.data(), expected_scores.data());
  cuda::route(logits.data(), tokens, experts, top_k, got.data(), got_scores.data(), nullptr);
  const std::string name = what + " " + std::to_string(experts) + " experts, k " + std::to_string(top_k) + ": ";
  equal("route " + name + "experts", expected, got);
  equal("route " + name + "scores", expected_scores, got_scores);
}

void test_route() {
  Random random(41);
  for (const std::int64_t experts : {1, 2, 16, 33, 128, 300}) {
    for (const std::int64_t top_k : {1, 2, 8, 9, 300}) {
      if (top_k > experts) continue;
      const std::int64_t tokens = top_k > 8 ? 2 : 9;
      for (const Rows kind : kAllRows) {
        compare_route("of values", hostile<bf16>(random, kind, tokens, experts), tokens, experts, top_k);
      }
      std::vector<bf16> ties(size(tokens * experts));  // of zeros of both signs, and of NaNs
      for (bf16& x : ties) x.bits = random() % 2 == 0 ? 0x8000 : 0;
      for (std::size_t i = 0; i < ties.size(); i += 5) ties[i].bits = random() % 2 == 0 ? 0xFFC1 : 0x7F81;
      compare_route("of ties", ties, tokens, experts, top_k);
    }
  }
  for (const std::int64_t experts : {4096, 4097}) {  // the last of a warp, the first of a sort
    compare_route("of many", hostile<bf16>(random, Rows::special, 2, experts), 2, experts, 2);
  }
  compare_route("of no token", {}, 0, 4, 2);
  std::vector<bf16> all(1 << 16);
  for (std::size_t i = 0; i < all.size(); ++i) all[i].bits = static_cast<std::uint16_t>(i);
  compare_route("of every number", all, 1 << 4, 1 << 12, 1 << 12);
}

enum class Choice { any, one, few, ascending };

std::vector<std::int64_t> choices(Random& random, Choice choice, std::int64_t pairs, std::int64_t experts) {
  std::vector<std::int64_t> ids(size(pairs));
  for (std::int64_t p = 0; p < pairs; ++p) {
    const auto any = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(experts));
    ids[size(p)] = choice == Choice::any         ? any
                   : choice == Choice::one       ? experts / 2
                   : choice == Choice::ascending ? p * experts / pairs
                   : random() % 2 == 0           ? experts - 1
                                                 : any % 3 % experts;
  }
  return ids;
}

void compare_dispatch(Choice choice, std::int64_t tokens, std::int64_t top_k, std::int64_t cols, std::int64_t experts,
                      int offset) {
  Random random(42);
  const std::int64_t pairs = tokens * top_k;
  const std::vector<std::int64_t> ids = choices(random, choice, pairs, experts);
  Placed<bf16> x(hostile<bf16>(random, Rows::special, tokens, cols), offset), inputs(pairs * cols, 0);
  const std::vector<bf16> scores = hostile<bf16>(random, Rows::special, tokens, top_k);
  std::vector<bf16> expected(size(pairs * cols));
  std::vector<std::int64_t> order(size(pairs), -1), got_order(size(pairs), -2);
  std::vector<std::int64_t> offsets(size(experts + 1), -1), got_offsets(size(experts + 1), -2);
  cpu::dispatch(x.data(), ids.data(), scores.data(), tokens, top_k, cols, experts, expected.data(), order.data(),
                offsets.data());
  cuda::dispatch(x.data(), ids.data(), scores.data(), tokens, top_k, cols, experts, inputs.data(), got_order.data(),
                 got_offsets.data(), nullptr);
  const std::string name = "dispatch of " + std::to_string(tokens) + " x " + std::to_string(top_k) + " to " +
                           std::to_string(experts) + ", choice " + std::to_string(static_cast<int>(choice)) + ": ";
  equal(name + "order", order, got_order);
  equal(name + "offsets", offsets, got_offsets);
  equal(name + "inputs", expected, inputs.values());
}

void test_dispatch() {
  for (const Choice choice : {Choice::any, Choice::one, Choice::few, Choice::ascending}) {
    for (const std::int64_t tokens : {1, 31, 257}) {
      compare_dispatch(choice, tokens, 1, 8, 16, 0);
      compare_dispatch(choice, tokens, 3, 3, 128, 0);
    }
    compare_dispatch(choice, 4500, 1, 0, 128, 0);    // more blocks than one
    compare_dispatch(choice, 1100, 2, 0, 300, 0);    // two digits
    compare_dispatch(choice, 40, 2, 8, 70000, 0);    // three
    compare_dispatch(choice, 9, 1, 16, 1 << 20, 1);  // no vectors
  }
  compare_dispatch(Choice::any, 0, 1, 8, 5, 0);
  compare_dispatch(Choice::any, 3, 2, 8, 1, 0);
}

void compare_combine(Rows kind, std::int64_t tokens, std::int64_t top_k, std::int64_t cols, int offset) {
  Random random(43);
  const std::int64_t pairs = tokens * top_k;
  std::vector<std::int64_t> order(size(pairs));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  Placed<bf16> routed(hostile<bf16>(random, kind, pairs, cols), offset), out(tokens * cols, 0);
  Placed<bf16> shared(hostile<bf16>(random, Rows::special, tokens, cols), 0);
  std::vector<bf16> expected(size(tokens * cols));
  cpu::combine(routed.data(), order.data(), shared.data(), tokens, top_k, cols, expected.data());
  cuda::combine(routed.data(), order.data(), shared.data(), tokens, top_k, cols, out.data(), nullptr);
  const std::string name = "combine of " + std::to_string(tokens) + " x " + std::to_string(top_k) + " x " +
                           std::to_string(cols) + ", kind " + std::to_string(static_cast<int>(kind));
  equal(name, expected, out.values());
  cuda::combine(routed.data(), order.data(), shared.data(), tokens, top_k, cols, shared.data(), nullptr);
  equal(name + " in place", expected, shared.values());
}

void test_combine() {
  for (const Rows kind : kAllRows) {
    for (const std::int64_t top_k : {1, 2, 3, 40}) {
      compare_combine(kind, 5, top_k, 24, 0);
      compare_combine(kind, 3, top_k, 13, 0);
      compare_combine(kind, 3, top_k, 16, 1);
    }
  }
  compare_combine(Rows::normal, 0, 1, 8, 0);
  compare_combine(Rows::normal, 2, 2, 0, 0);
}

}  // namespace

int main() {
  in_both_orders([] {
    test_route();
    test_dispatch();
    test_combine();
  });
  return finish("simt route");
}
