// SPDX-License-Identifier: Apache-2.0
// What each layer of a model is, as config.json says it. Internal.
#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/json.h"
#include "fp8ref/checkpoint.h"

namespace fp8ref::checkpoint {

/// Some of the layers: those of a list, or every `step`-th. Never as long as the layer count, which is not trusted.
class LayerSet {
 public:
  LayerSet() = default;
  explicit LayerSet(std::vector<std::int64_t> listed);
  static LayerSet every(std::int64_t step);  // step - 1, 2 step - 1, ...

  bool contains(std::int64_t layer) const;

 private:
  std::vector<std::int64_t> listed_;  // sorted
  std::int64_t step_ = 0;             // 0: those of the list
};

/// The kinds of all layers. [LLAMA-LAYERS]
class LayerKinds {
 public:
  /// Reads what `text` has of the family in `numbers`, and puts MoeConfig and Temperature there. [CKPT-LLAMA4],
  /// [CKPT-MLLAMA]
  LayerKinds(const Section& text, LlamaConfig& numbers);

  LayerKind of(std::int64_t layer) const;

 private:
  void read_llama4(const Section& text, LlamaConfig& numbers);
  void read_mllama(const Section& text, const LlamaConfig& numbers);
  void read_no_rope(const Section& text, std::int64_t layers);
  void check_types(const Section& text, std::int64_t layers) const;

  LayerSet moe_, no_rope_, cross_;
  LayerKind with_rope_, without_rope_;
};

}  // namespace fp8ref::checkpoint
