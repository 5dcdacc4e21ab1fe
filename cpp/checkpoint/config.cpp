// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/config.h"

#include <algorithm>
#include <cmath>

namespace fp8ref::checkpoint {
namespace {

constexpr std::int64_t kMaxPositions = 1 << 24;  // positions below are exact in fp32
constexpr std::int64_t kDefaultEos = 2;

/// Only Llama text models. [CKPT-MODEL]
void check_model(const Section& config) {
  if (config.has("model_type")) {
    if (config.string("model_type") != "llama") throw config.unsupported("model_type", "'llama'");
  } else {
    const std::vector<std::string> names = config.strings("architectures");
    if (std::find(names.begin(), names.end(), "LlamaForCausalLM") == names.end()) {
      throw config.unsupported("architectures", "['LlamaForCausalLM'] (or model_type 'llama')");
    }
  }
  if (config.string("hidden_act", "silu") != "silu") throw config.unsupported("hidden_act", "'silu'");
}

/// A number that is positive and finite in fp32, as the operations round it.
double positive(const Section& section, std::string_view key) {
  const double value = section.number(key);
  const auto rounded = static_cast<float>(value);
  if (!(rounded > 0) || std::isinf(rounded)) {
    throw section.wrong(key, "a number that is positive and finite in float32");
  }
  return value;
}

/// rope_theta and the scaling, in the old or the new spelling. [CKPT-ROPE]
void read_rope(const Section& config, LlamaConfig& out) {
  const Section rope = config.section(config.has("rope_parameters") ? "rope_parameters" : "rope_scaling");
  const Section& theta = rope.has("rope_theta") ? rope : config;
  out.rope_theta = theta.has("rope_theta") ? positive(theta, "rope_theta") : 10000.0;
  for (const Section* section : {&rope, &config}) {
    if (section->number("partial_rotary_factor", 1.0) != 1.0) throw section->unsupported("partial_rotary_factor", "1");
  }
  const std::string key = !rope.has("rope_type") && rope.has("type") ? "type" : "rope_type";
  const std::string type = rope.string(key, "default");
  if (type == "default") return;
  if (type != "llama3") throw rope.unsupported(key, "'default', 'llama3'");
  RopeScaling scaling{};
  scaling.factor = positive(rope, "factor");
  scaling.low_freq_factor = positive(rope, "low_freq_factor");
  scaling.high_freq_factor = positive(rope, "high_freq_factor");
  if (static_cast<float>(scaling.low_freq_factor) > static_cast<float>(scaling.high_freq_factor)) {
    throw rope.wrong("low_freq_factor", "no larger than high_freq_factor");
  }
  constexpr char kOriginal[] = "original_max_position_embeddings";
  scaling.original_max_position_embeddings = static_cast<double>(rope.integer(kOriginal, 1, kMaxPositions));
  out.rope_scaling = scaling;
}

/// generation_config.json decides where it has EOS ids. [CKPT-EOS]
void read_eos(const Section& config, const Section& generation, LlamaConfig& out) {
  constexpr char kKey[] = "eos_token_id";
  const Section& source = generation.has(kKey) ? generation : config;
  const Value* value = source.find(kKey);
  if (value == nullptr) {
    if (kDefaultEos < out.vocab_size) out.eos_token_ids = {kDefaultEos};
    return;
  }
  if (value->is_null()) return;
  const Array single{*value};
  for (const Value& item : value->array() == nullptr ? single : *value->array()) {
    std::int64_t id = 0;
    if (!item.integer(0, out.vocab_size - 1, id)) {
      throw source.wrong(kKey, "an id or a list of ids from 0 to " + std::to_string(out.vocab_size - 1));
    }
    const auto& ids = out.eos_token_ids;
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) out.eos_token_ids.push_back(id);
  }
}

void read_heads(const Section& config, LlamaConfig& out) {
  const std::int64_t heads = config.integer("num_attention_heads", 1, Section::kMax32, 32);
  out.num_attention_heads = heads;
  out.num_key_value_heads = config.integer("num_key_value_heads", 1, Section::kMax32, heads);
  if (heads % out.num_key_value_heads != 0) {
    throw config.wrong("num_key_value_heads", "a divisor of num_attention_heads=" + std::to_string(heads));
  }
  if (!config.has("head_dim") && out.hidden_size % heads != 0) {
    const std::string expected = "a multiple of num_attention_heads=" + std::to_string(heads);
    throw config.wrong("hidden_size", expected + " where head_dim is absent");
  }
  out.head_dim = config.integer("head_dim", 1, Section::kMax32, out.hidden_size / heads);
  if (out.head_dim % 2 != 0) throw config.wrong("head_dim", "even, and is " + std::to_string(out.head_dim));
}

}  // namespace

LlamaConfig read_config(const Section& config, const Section& generation_config) {
  check_model(config);
  LlamaConfig out;
  out.vocab_size = config.integer("vocab_size", 1, Section::kMax32, 32000);
  out.hidden_size = config.integer("hidden_size", 1, Section::kMax32, 4096);
  out.intermediate_size = config.integer("intermediate_size", 1, Section::kMax32, 11008);
  out.num_hidden_layers = config.integer("num_hidden_layers", 1, Section::kMax32, 32);
  read_heads(config, out);
  out.max_position_embeddings = config.integer("max_position_embeddings", 1, Section::kMax32, 2048);
  if (out.max_position_embeddings > kMaxPositions) {
    throw config.unsupported("max_position_embeddings", "up to " + std::to_string(kMaxPositions));
  }
  out.rms_norm_eps = config.has("rms_norm_eps") ? positive(config, "rms_norm_eps") : 1e-6;
  read_rope(config, out);
  out.tie_word_embeddings = config.boolean("tie_word_embeddings", false);
  out.attention_bias = config.boolean("attention_bias", false);
  out.mlp_bias = config.boolean("mlp_bias", false);
  read_eos(config, generation_config, out);
  return out;
}

}  // namespace fp8ref::checkpoint
