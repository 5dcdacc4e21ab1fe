// SPDX-License-Identifier: Apache-2.0
// What attention has seen so far: keys (as it takes them) and values of the tokens [LLAMA-CACHE], as FP8 codes where
// the model says so [LLAMA-KV], and those of an image [LLAMA-VISION]. Internal.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "fp8ref/checkpoint.h"
#include "llama_layers.h"
#include "ops.h"

namespace fp8ref {

class KvCache {
 public:
  /// layers: those of self-attention have a cache.
  KvCache(Ops& ops, const LlamaConfig& config, const std::vector<LlamaLayerWeights>& layers)
      : ops_(ops),
        width_(config.num_key_value_heads * config.head_dim),
        limit_(config.max_position_embeddings),
        coded_(config.fp8_kv_cache) {
    for (const LlamaLayerWeights& layer : layers) {
      places_.push_back(parts_.size());
      for (int part = 0; part < 2 && !layer.kind.cross; ++part) parts_.emplace_back(ops, 0);
    }
    for (int part = 0; part < 2 && coded_; ++part) wide_.emplace_back(ops, 0);
  }

  /// Tokens of finished forwards. What a forward that fails wrote behind them is never read.
  std::int64_t length() const { return length_; }
  void set_length(std::int64_t tokens) { length_ = tokens; }
  /// Whether codes are what is kept.
  bool coded() const { return coded_; }

  /// Room for `tokens` in all, growing by doubling, one array at a time.
  void reserve(std::int64_t tokens) {
    if (tokens <= capacity_) return;
    const std::int64_t capacity = std::min(std::max(tokens, 2 * capacity_), limit_);
    const auto item = static_cast<std::int64_t>(coded_ ? sizeof(e4m3) : sizeof(bf16));
    for (Buffer<std::byte>& part : parts_) {
      Buffer<std::byte> larger(ops_, capacity * width_ * item);
      ops_.copy(larger.data(), part.data(), static_cast<std::size_t>(length_ * width_ * item));
      part = std::move(larger);
    }
    for (Buffer<bf16>& part : wide_) part = Buffer<bf16>(ops_, capacity * width_);
    capacity_ = capacity;
  }

  /// (capacity, width); tokens up to the reserved number may be written. With codes this is an array that the layers
  /// share: what a layer wrote there lasts until the next one.
  bf16* keys(std::int64_t layer) { return values_of(layer, 0); }
  bf16* values(std::int64_t layer) { return values_of(layer, 1); }
  /// The same as codes, where they are kept.
  e4m3* key_codes(std::int64_t layer) { return reinterpret_cast<e4m3*>(kept(layer, 0)); }
  e4m3* value_codes(std::int64_t layer) { return reinterpret_cast<e4m3*>(kept(layer, 1)); }

 private:
  std::byte* kept(std::int64_t layer, std::size_t part) {
    return parts_[places_[static_cast<std::size_t>(layer)] + part].data();
  }
  bf16* values_of(std::int64_t layer, std::size_t part) {
    return coded_ ? wide_[part].data() : reinterpret_cast<bf16*>(kept(layer, part));
  }

  Ops& ops_;
  const std::int64_t width_, limit_;
  const bool coded_;
  std::int64_t length_ = 0, capacity_ = 0;
  std::vector<std::size_t> places_;       // of each layer's keys among the parts; its values come next
  std::vector<Buffer<std::byte>> parts_;  // codes or bf16
  std::vector<Buffer<bf16>> wide_;        // keys and values out of codes
};

/// Keys and values that the layers of cross-attention have of an image.
class Image {
 public:
  Image(Ops& ops, const LlamaConfig& config, const std::vector<Layer>& layers, std::int64_t rows) : rows_(rows) {
    const std::int64_t size = rows * config.num_key_value_heads * config.head_dim;
    for (const Layer& layer : layers) {
      keys_.emplace_back(ops, layer.cross ? size : 0);
      values_.emplace_back(ops, layer.cross ? size : 0);
    }
  }

  std::int64_t rows() const { return rows_; }
  bf16* keys(std::int64_t layer) const { return keys_[static_cast<std::size_t>(layer)].data(); }
  bf16* values(std::int64_t layer) const { return values_[static_cast<std::size_t>(layer)].data(); }

 private:
  std::int64_t rows_;
  std::vector<Buffer<bf16>> keys_, values_;
};

}  // namespace fp8ref
