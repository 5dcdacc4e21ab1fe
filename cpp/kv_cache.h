// SPDX-License-Identifier: Apache-2.0
// Keys (after RoPE) and values of the tokens so far [LLAMA-CACHE]. Internal.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "fp8ref/platform.h"

namespace fp8ref::cpu {

class KvCache {
 public:
  /// width: elements of one token's keys in one layer; it holds no more than `limit` tokens.
  KvCache(std::int64_t layers, std::int64_t width, std::int64_t limit)
      : width_(width),
        limit_(limit),
        keys_(static_cast<std::size_t>(layers)),
        values_(static_cast<std::size_t>(layers)) {}

  /// Tokens of finished forwards. What a forward that fails wrote behind them is never read.
  std::int64_t length() const { return length_; }
  void set_length(std::int64_t tokens) { length_ = tokens; }

  /// Room for `tokens` in all, growing by doubling.
  void reserve(std::int64_t tokens) {
    if (tokens <= capacity_) return;
    const std::int64_t capacity = std::min(std::max(tokens, 2 * capacity_), limit_);
    for (auto* part : {&keys_, &values_}) {
      for (std::vector<bf16>& kept : *part) {
        std::vector<bf16> larger(static_cast<std::size_t>(capacity * width_));
        std::copy_n(kept.begin(), length_ * width_, larger.begin());
        kept.swap(larger);
      }
    }
    capacity_ = capacity;
  }

  /// (capacity, width); tokens up to the reserved number may be written.
  bf16* keys(std::int64_t layer) { return keys_[static_cast<std::size_t>(layer)].data(); }
  bf16* values(std::int64_t layer) { return values_[static_cast<std::size_t>(layer)].data(); }

 private:
  const std::int64_t width_, limit_;
  std::int64_t length_ = 0, capacity_ = 0;
  std::vector<std::vector<bf16>> keys_, values_;
};

}  // namespace fp8ref::cpu
