// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/layers.h"

#include <algorithm>

#include "checkpoint/config.h"

namespace fp8ref::checkpoint {
namespace {

constexpr std::int64_t kMaxExperts = 1 << 20;

/// A list with an entry for each layer.
void check_length(const Section& text, std::string_view key, std::size_t length, std::int64_t layers) {
  if (static_cast<std::int64_t>(length) == layers) return;
  throw text.wrong(key, "a list with an entry for each of num_hidden_layers=" + std::to_string(layers));
}

/// A switch that some writers spell as a number.
bool read_switch(const Section& text, std::string_view key, bool otherwise) {
  if (!text.has(key)) return otherwise;
  if (const auto* value = std::get_if<bool>(&text.find(key)->data)) return *value;
  return text.integer(key, 0) != 0;
}

MoeConfig read_moe(const Section& text) {
  MoeConfig out;
  out.num_local_experts = text.integer("num_local_experts", 1, kMaxExperts, 16);
  out.num_experts_per_tok = text.integer("num_experts_per_tok", 1, kMaxExperts, 1);
  if (out.num_experts_per_tok > out.num_local_experts) {
    const std::string experts = std::to_string(out.num_local_experts);
    throw text.wrong("num_experts_per_tok", "no larger than num_local_experts=" + experts);
  }
  out.intermediate_size = read_size(text, "intermediate_size", Family::llama4);
  return out;
}

/// A chunk is there unless the config says null, which elsewhere would count as absent.
std::int64_t read_chunk(const Section& text) {
  constexpr char kKey[] = "attention_chunk_size";
  if (text.find(kKey) != nullptr && !text.has(kKey)) return 0;
  return text.integer(kKey, 1, kMaxPositions, 8192);
}

}  // namespace

LayerSet::LayerSet(std::vector<std::int64_t> listed) : listed_(std::move(listed)) {
  std::sort(listed_.begin(), listed_.end());
}

LayerSet LayerSet::every(std::int64_t step) {
  LayerSet out;
  out.step_ = step;
  return out;
}

bool LayerSet::contains(std::int64_t layer) const {
  return step_ > 0 ? (layer + 1) % step_ == 0 : std::binary_search(listed_.begin(), listed_.end(), layer);
}

LayerKinds::LayerKinds(const Section& text, LlamaConfig& numbers) {
  if (numbers.family == Family::llama4) read_llama4(text, numbers);
  if (numbers.family == Family::mllama) read_mllama(text, numbers);
}

LayerKind LayerKinds::of(std::int64_t layer) const {
  if (cross_.contains(layer)) {
    LayerKind cross;
    cross.cross = true;
    cross.rope.reset();
    return cross;
  }
  LayerKind out = no_rope_.contains(layer) ? without_rope_ : with_rope_;
  out.moe = moe_.contains(layer);
  return out;
}

/// [CKPT-LLAMA4]
void LayerKinds::read_llama4(const Section& text, LlamaConfig& numbers) {
  const std::int64_t layers = numbers.num_hidden_layers;
  numbers.moe = read_moe(text);
  const std::int64_t step = text.integer("interleave_moe_layer_step", 1, Section::kMax32, 1);
  moe_ = text.has("moe_layers") ? LayerSet(text.integers("moe_layers", 0, layers - 1)) : LayerSet::every(step);
  read_no_rope(text, layers);
  check_types(text, layers);
  const Temperature temperature{read_positive(text, "floor_scale", 8192), read_positive(text, "attn_scale", 0.1)};
  if (read_switch(text, "attn_temperature_tuning", true)) numbers.temperature = temperature;
  with_rope_.rope = RopeLayout::interleaved;
  with_rope_.chunk = read_chunk(text);
  with_rope_.qk_norm = text.boolean("use_qk_norm", true);
  without_rope_.rope.reset();
  without_rope_.temperature = numbers.temperature.has_value();
}

/// The list, despite its name, has 1 where a layer has RoPE.
void LayerKinds::read_no_rope(const Section& text, std::int64_t layers) {
  constexpr char kKey[] = "no_rope_layers";
  no_rope_ = LayerSet::every(text.integer("no_rope_layer_interval", 1, Section::kMax32, 4));
  if (!text.has(kKey)) return;
  const std::vector<std::int64_t> has_rope = text.integers(kKey, 0, 1);
  if (has_rope.empty()) return;
  check_length(text, kKey, has_rope.size(), layers);
  std::vector<std::int64_t> without;
  for (std::int64_t i = 0; i < layers; ++i) {
    if (has_rope[static_cast<std::size_t>(i)] == 0) without.push_back(i);
  }
  no_rope_ = LayerSet(std::move(without));
}

/// Transformers takes chunks from this list and all else from no_rope_layers; here they say the same.
void LayerKinds::check_types(const Section& text, std::int64_t layers) const {
  constexpr char kKey[] = "layer_types";
  if (!text.has(kKey)) return;
  const std::vector<std::string> types = text.strings(kKey);
  check_length(text, kKey, types.size(), layers);
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string expected = no_rope_.contains(i) ? "full_attention" : "chunked_attention";
    if (types[static_cast<std::size_t>(i)] == expected) continue;
    const std::string where = " of layer " + std::to_string(i) + ", as no_rope_layers has it";
    throw text.unsupported(kKey, quote(expected) + where);
  }
}

/// [CKPT-MLLAMA]
void LayerKinds::read_mllama(const Section& text, const LlamaConfig& numbers) {
  constexpr char kKey[] = "cross_attention_layers";
  std::vector<std::int64_t> layers{3, 8, 13, 18, 23, 28, 33, 38};
  if (text.has(kKey)) layers = text.integers(kKey, 0, numbers.num_hidden_layers - 1);
  std::sort(layers.begin(), layers.end());
  const bool twice = std::adjacent_find(layers.begin(), layers.end()) != layers.end();
  if (twice || (!layers.empty() && layers.back() >= numbers.num_hidden_layers)) {
    const std::string count = std::to_string(numbers.num_hidden_layers);
    throw text.wrong(kKey, "a list of layers below num_hidden_layers=" + count + ", none twice");
  }
  cross_ = LayerSet(std::move(layers));
}

}  // namespace fp8ref::checkpoint
