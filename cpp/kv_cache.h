// SPDX-License-Identifier: Apache-2.0
// Keys (after RoPE) and values of the tokens so far [LLAMA-CACHE]. Internal.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "fp8ref/platform.h"
#include "ops.h"

namespace fp8ref {

class KvCache {
 public:
  /// width: elements of one token's keys in one layer; it holds no more than `limit` tokens.
  KvCache(Ops& ops, std::int64_t layers, std::int64_t width, std::int64_t limit)
      : ops_(ops), layers_(layers), width_(width), limit_(limit) {}

  /// Tokens of finished forwards. What a forward that fails wrote behind them is never read.
  std::int64_t length() const { return length_; }
  void set_length(std::int64_t tokens) { length_ = tokens; }

  /// Room for `tokens` in all, growing by doubling, one array at a time.
  void reserve(std::int64_t tokens) {
    if (tokens <= capacity_) return;
    const std::int64_t capacity = std::min(std::max(tokens, 2 * capacity_), limit_);
    if (parts_.empty()) {
      for (std::int64_t i = 0; i < 2 * layers_; ++i) parts_.emplace_back(ops_, 0);
    }
    for (Buffer<bf16>& part : parts_) {
      Buffer<bf16> larger(ops_, capacity * width_);
      ops_.copy(larger.data(), part.data(), static_cast<std::size_t>(length_ * width_) * sizeof(bf16));
      part = std::move(larger);
    }
    capacity_ = capacity;
  }

  /// (capacity, width); tokens up to the reserved number may be written.
  bf16* keys(std::int64_t layer) { return parts_[static_cast<std::size_t>(2 * layer)].data(); }
  bf16* values(std::int64_t layer) { return parts_[static_cast<std::size_t>(2 * layer + 1)].data(); }

 private:
  Ops& ops_;
  const std::int64_t layers_, width_, limit_;
  std::int64_t length_ = 0, capacity_ = 0;
  std::vector<Buffer<bf16>> parts_;  // keys and values of each layer
};

}  // namespace fp8ref
