// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/config.h"

#include <algorithm>
#include <cmath>

namespace fp8ref::checkpoint {
namespace {

constexpr std::int64_t kDefaultEos = 2, kMllamaEos = 128001;

/// What a model may call itself, and where the keys of its text model are. [CKPT-MODEL]
struct Class {
  std::string_view model_type, architecture;
  Family family;
  std::string_view text_model_type;  // of text_config; empty: the keys are at the top
};
constexpr Class kClasses[] = {
    {"llama", "LlamaForCausalLM", Family::llama, ""},
    {"llama4", "Llama4ForConditionalGeneration", Family::llama4, "llama4_text"},
    {"llama4_text", "Llama4ForCausalLM", Family::llama4, ""},
    {"mllama", "MllamaForConditionalGeneration", Family::mllama, "mllama_text_model"},
    {"mllama_text_model", "MllamaForCausalLM", Family::mllama, ""},
};

/// Counts that are integers from 1 to 2^31 - 1, by family in the order of the enum. [CKPT-MODEL]
struct Size {
  std::string_view key;
  std::int64_t llama, llama4, mllama;
};
constexpr Size kSizes[] = {
    {"vocab_size", 32000, 202048, 128256},
    {"hidden_size", 4096, 5120, 4096},
    {"intermediate_size", 11008, 8192, 14336},
    {"intermediate_size_mlp", 0, 16384, 0},
    {"num_hidden_layers", 32, 48, 40},
    {"num_attention_heads", 32, 40, 32},
    {"num_key_value_heads", 0, 8, 8},
    {"head_dim", 0, 128, 0},
    {"max_position_embeddings", 2048, 131072, 131072},
};
constexpr double kLlamaTheta = 10000, kTheta = 500000, kLlamaEps = 1e-6, kEps = 1e-5;
constexpr std::int64_t kMoreEmbeddings = 8;  // rows of Mllama's embed_tokens beyond vocab_size [CKPT-MLLAMA]

std::string quoted(std::string_view Class::* name) {
  std::string out;
  for (const Class& known : kClasses) out += (out.empty() ? "'" : ", '") + std::string(known.*name) + "'";
  return out;
}

const Class& read_class(const Section& config) {
  const bool named = config.has("model_type");
  const std::vector<std::string> names =
      named ? std::vector{config.string("model_type")} : config.strings("architectures");
  const auto name = named ? &Class::model_type : &Class::architecture;
  for (const std::string& found : names) {
    for (const Class& known : kClasses) {
      if (known.*name == found) return known;
    }
  }
  throw config.unsupported(named ? "model_type" : "architectures", quoted(name));
}

/// The keys of the text model. [CKPT-MODEL]
Section read_text(const Section& config, const Class& model) {
  if (model.text_model_type.empty()) return config;
  constexpr char kKey[] = "text_config", kType[] = "model_type";
  if (!config.has(kKey)) throw config.wrong(kKey, "an object with the keys of the text model");
  const Section text = config.section(kKey);
  if (text.string(kType, model.text_model_type) != model.text_model_type) {
    throw text.unsupported(kType, "'" + std::string(model.text_model_type) + "'");
  }
  return text;
}

void check_activation(const Section& text, std::string_view key) {
  if (text.string(key, "silu") != "silu") throw text.unsupported(key, "'silu'");
}

/// rope_theta and the scaling, in the old or the new spelling. [CKPT-ROPE]
void read_rope(const Section& config, LlamaConfig& out) {
  const Section rope = config.section(config.has("rope_parameters") ? "rope_parameters" : "rope_scaling");
  const double otherwise = out.family == Family::llama ? kLlamaTheta : kTheta;
  out.rope_theta = read_positive(rope.has("rope_theta") ? rope : config, "rope_theta", otherwise);
  for (const Section* section : {&rope, &config}) {
    if (section->number("partial_rotary_factor", 1.0) != 1.0) throw section->unsupported("partial_rotary_factor", "1");
  }
  const std::string key = !rope.has("rope_type") && rope.has("type") ? "type" : "rope_type";
  const std::string type = rope.string(key, "default");
  if (type == "default") return;
  if (type != "llama3") throw rope.unsupported(key, "'default', 'llama3'");
  RopeScaling scaling{};
  scaling.factor = read_positive(rope, "factor");
  scaling.low_freq_factor = read_positive(rope, "low_freq_factor");
  scaling.high_freq_factor = read_positive(rope, "high_freq_factor");
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
    const std::int64_t id = out.family == Family::mllama ? kMllamaEos : kDefaultEos;
    if (id < out.vocab_size) out.eos_token_ids = {id};
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

void read_heads(const Section& text, LlamaConfig& out) {
  const std::int64_t heads = out.num_attention_heads = read_size(text, "num_attention_heads", out.family);
  out.num_key_value_heads = read_size(text, "num_key_value_heads", out.family);
  if (out.num_key_value_heads == 0) out.num_key_value_heads = heads;
  if (heads % out.num_key_value_heads != 0) {
    throw text.wrong("num_key_value_heads", "a divisor of num_attention_heads=" + std::to_string(heads));
  }
  out.head_dim = read_size(text, "head_dim", out.family);
  if (out.head_dim == 0) {
    if (out.hidden_size % heads != 0) {
      const std::string expected = "a multiple of num_attention_heads=" + std::to_string(heads);
      throw text.wrong("hidden_size", expected + " where head_dim is absent");
    }
    out.head_dim = out.hidden_size / heads;
  }
  if (out.head_dim % 2 != 0) throw text.wrong("head_dim", "even, and is " + std::to_string(out.head_dim));
}

/// [CKPT-MODEL]
LlamaConfig read_numbers(const Section& text, Family family) {
  LlamaConfig out;
  out.family = family;
  out.vocab_size = read_size(text, "vocab_size", family);
  out.embedding_rows = out.vocab_size + (family == Family::mllama ? kMoreEmbeddings : 0);
  out.hidden_size = read_size(text, "hidden_size", family);
  out.intermediate_size =
      read_size(text, family == Family::llama4 ? "intermediate_size_mlp" : "intermediate_size", family);
  out.num_hidden_layers = read_size(text, "num_hidden_layers", family);
  read_heads(text, out);
  out.max_position_embeddings = read_size(text, "max_position_embeddings", family);
  if (out.max_position_embeddings > kMaxPositions) {
    throw text.unsupported("max_position_embeddings", "up to " + std::to_string(kMaxPositions));
  }
  out.rms_norm_eps = read_positive(text, "rms_norm_eps", family == Family::llama ? kLlamaEps : kEps);
  if (family != Family::mllama) out.attention_bias = text.boolean("attention_bias", false);
  if (family == Family::llama) out.mlp_bias = text.boolean("mlp_bias", false);
  return out;
}

}  // namespace

std::int64_t read_size(const Section& text, std::string_view key, Family family) {
  const auto* size = std::find_if(std::begin(kSizes), std::end(kSizes), [&](const Size& s) { return s.key == key; });
  const std::int64_t otherwise[] = {size->llama, size->llama4, size->mllama};
  return text.integer(key, 1, Section::kMax32, otherwise[static_cast<std::size_t>(family)]);
}

double read_positive(const Section& section, std::string_view key) {
  const double value = section.number(key);
  const auto rounded = static_cast<float>(value);
  if (!(rounded > 0) || std::isinf(rounded)) {
    throw section.wrong(key, "a number that is positive and finite in float32");
  }
  return value;
}

double read_positive(const Section& section, std::string_view key, double otherwise) {
  return section.has(key) ? read_positive(section, key) : otherwise;
}

Model read_model(const Section& config, const Section& generation_config) {
  const Class& model = read_class(config);
  const Section text = read_text(config, model);
  check_activation(text, "hidden_act");
  if (model.family == Family::mllama) check_activation(text, "hidden_activation");
  LlamaConfig numbers = read_numbers(text, model.family);
  constexpr char kTie[] = "tie_word_embeddings";
  const Section& tie = text.has(kTie) ? text : config;
  numbers.tie_word_embeddings = tie.boolean(kTie, false);
  if (numbers.tie_word_embeddings && model.family == Family::mllama) {
    throw tie.unsupported(kTie, "false in a Mllama, whose embeddings have rows that are no logits");
  }
  read_rope(text, numbers);
  read_eos(text, generation_config, numbers);
  const LayerKinds kinds(text, numbers);
  return {std::move(numbers), kinds};
}

}  // namespace fp8ref::checkpoint
