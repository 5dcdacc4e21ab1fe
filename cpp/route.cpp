// SPDX-License-Identifier: Apache-2.0
#include "fp8ref/route.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "fp8ref/cpu.h"
#include "parallel.h"

namespace fp8ref::cpu {
namespace {

constexpr std::int64_t kLogitsPerTask = 1 << 12;
constexpr std::int64_t kElementsPerTask = 1 << 14;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

}  // namespace

void route(const bf16* logits, std::int64_t tokens, std::int64_t experts, std::int64_t top_k, std::int64_t* ids,
           bf16* scores) {
  parallel_for(tokens, kLogitsPerTask / experts + 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint64_t> ranks(size(experts));
    for (std::int64_t token = begin; token < end; ++token) {
      const bf16* row = logits + token * experts;
      for (std::int64_t e = 0; e < experts; ++e) ranks[size(e)] = route_rank(row[e], e);
      std::partial_sort(ranks.begin(), ranks.begin() + top_k, ranks.end(), std::greater<>());
      for (std::int64_t j = 0; j < top_k; ++j) {
        const std::int64_t expert = route_expert(ranks[size(j)]);
        ids[token * top_k + j] = expert;
        scores[token * top_k + j] = route_score(row[expert]);
      }
    }
  });
}

/// The pairs are sorted by counting: of each expert, then each to the next place of its expert. [DISPATCH-ORDER]
void dispatch(const bf16* x, const std::int64_t* ids, const bf16* scores, std::int64_t tokens, std::int64_t top_k,
              std::int64_t cols, std::int64_t experts, bf16* inputs, std::int64_t* order, std::int64_t* offsets) {
  const std::int64_t pairs = tokens * top_k;
  std::fill_n(offsets, experts + 1, std::int64_t{0});
  for (std::int64_t p = 0; p < pairs; ++p) ++offsets[ids[p] + 1];
  for (std::int64_t e = 0; e < experts; ++e) offsets[e + 1] += offsets[e];
  std::vector<std::int64_t> next(offsets, offsets + experts);
  for (std::int64_t p = 0; p < pairs; ++p) order[next[size(ids[p])]++] = p;
  parallel_for(pairs, kElementsPerTask / (cols + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const bf16 score = scores[order[row]], *from = x + order[row] / top_k * cols;
      for (std::int64_t i = 0; i < cols; ++i) inputs[row * cols + i] = multiply(from[i], score);
    }
  });
}

void combine(const bf16* routed, const std::int64_t* order, const bf16* shared, std::int64_t tokens, std::int64_t top_k,
             std::int64_t cols, bf16* out) {
  std::vector<std::int64_t> back(size(tokens * top_k));
  for (std::int64_t row = 0; row < tokens * top_k; ++row) back[size(order[row])] = row;
  parallel_for(tokens, kElementsPerTask / (cols * top_k + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * cols; i < end * cols; ++i) {
      const std::int64_t token = i / cols;
      out[i] = combine_output({routed + i % cols, back.data() + token * top_k, cols, top_k}, shared[i]);
    }
  });
}

}  // namespace fp8ref::cpu
