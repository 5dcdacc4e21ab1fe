// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>

#include "checkpoint/config.h"
#include "checkpoint/names.h"

namespace fp8ref::checkpoint {
namespace {

using Texts = std::initializer_list<std::string_view>;

bool is_128(const Value& value) {
  std::int64_t number = 0;
  return value.integer(128, 128, number);
}

/// A block of weights, as new and as old writers spell it. [CKPT-ARGS]
bool is_block(const Value& value) {
  if (value.string() != nullptr) return *value.string() == "128x128";
  const Array* sides = value.array();
  return sides != nullptr && sides->size() == 2 && is_128(sides->front()) && is_128(sides->back());
}

/// UnsupportedError unless a text is one of `allowed`.
void one_of(const Section& section, std::string_view key, const std::string& text, Texts allowed) {
  if (std::find(allowed.begin(), allowed.end(), text) != allowed.end()) return;
  std::string known;
  for (const std::string_view name : allowed) known += (known.empty() ? "'" : ", '") + std::string(name) + "'";
  throw section.unsupported(key, known);
}

void absent(const Section& section, Texts keys) {
  for (const std::string_view key : keys) {
    if (section.has(key)) throw section.unsupported(key, "null");
  }
}

/// A key that other values than texts ask something unknown of; absent is fine.
void absent_or(const Section& section, std::string_view key, Texts allowed) {
  if (!section.has(key)) return;
  const std::string* text = section.find(key)->string();
  one_of(section, key, text == nullptr ? "" : *text, allowed);
}

struct Arguments {
  std::string strategy;
  bool dynamic;
};

/// Symmetric E4M3, and else how; which of the keys of shapes may be there depends on that. [CKPT-ARGS]
Arguments read_arguments(const Section& args) {
  one_of(args, "type", args.string("type", "int"), {"float"});
  if (args.integer("num_bits", 1, 64, 8) != 8) throw args.unsupported("num_bits", "8");
  if (!args.boolean("symmetric", true)) throw args.unsupported("symmetric", "true");
  const bool dynamic_is_switch = !args.has("dynamic") || std::holds_alternative<bool>(args.find("dynamic")->data);
  if (!dynamic_is_switch) throw args.unsupported("dynamic", "true, false");
  return {args.string("strategy", "tensor"), args.boolean("dynamic", false)};
}

/// True for weights in blocks.
bool read_weights(const Section& group, const Section& args) {
  const Arguments weights = read_arguments(args);
  const bool blocks = weights.strategy == "block";
  if (weights.dynamic || (weights.strategy != "channel" && weights.strategy != "tensor" && !blocks)) {
    throw group.unsupported("weights", "strategy 'channel', 'tensor' or 'block', not dynamic");
  }
  absent(args, {"group_size"});
  if (!blocks) {
    absent(args, {"block_structure"});
  } else if (args.find("block_structure") == nullptr || !is_block(*args.find("block_structure"))) {
    throw args.unsupported("block_structure", "[128, 128] for strategy 'block'");
  }
  return blocks;
}

Activations read_activations(const Section& group, const Section& args, bool blocks) {
  const Arguments inputs = read_arguments(args);
  absent(args, {"block_structure"});
  const bool groups = inputs.strategy == "group";
  if (!groups) absent(args, {"group_size"});
  if (blocks && groups && inputs.dynamic) {
    if (!args.has("group_size") || !is_128(*args.find("group_size"))) throw args.unsupported("group_size", "128");
    return Activations::group_128;
  }
  if (!blocks && inputs.strategy == "token" && inputs.dynamic) return Activations::per_token;
  if (!blocks && inputs.strategy == "tensor" && !inputs.dynamic) return Activations::per_tensor_static;
  throw group.unsupported("input_activations", blocks ? "strategy 'group' and dynamic, for weights in blocks"
                                                      : "strategy 'token' and dynamic, or 'tensor' and static");
}

/// [CKPT-KV]
void check_kv_cache(const Section& args) {
  const Arguments cache = read_arguments(args);
  absent(args, {"group_size", "block_structure"});
  one_of(args, "strategy", cache.strategy, {"tensor"});
  if (cache.dynamic) throw args.unsupported("dynamic", "false");
}

/// Groups that a writer may call by a name. [CKPT-CT]
struct Preset {
  std::string_view name;
  Activations activations;
};
constexpr Preset kPresets[] = {{"FP8", Activations::per_tensor_static},
                               {"FP8_DYNAMIC", Activations::per_token},
                               {"FP8_BLOCK", Activations::group_128}};

/// Where the quantization config is, if there is one. [CKPT-QUANT-KEY]
std::optional<Section> locate(const Section& config) {
  constexpr char kKey[] = "quantization_config", kOldKey[] = "compression_config";
  const Section text = config.section("text_config");
  if (config.has(kKey)) return config.section(kKey);
  if (text.has(kKey)) return text.section(kKey);
  if (config.has(kOldKey)) return config.section(kOldKey);
  return std::nullopt;
}

}  // namespace

Quantization::Names::Names(const Section& section, std::string_view key) {
  for (const std::string& entry : section.strings(key)) {
    if (!entry.starts_with("re:")) {
      exact_.insert(entry);
      continue;
    }
    try {
      patterns_.emplace_back(std::string_view(entry).substr(3));
    } catch (const UnsupportedError& error) {
      throw UnsupportedError(section.file() + ": key " + section.path(key) + ": pattern " + quote(entry) + ": " +
                             error.what());
    }
  }
}

int Quantization::Names::rank(const std::vector<std::string>& spellings) const {
  const auto exactly = [this](const std::string& name) { return exact_.contains(name); };
  if (std::any_of(spellings.begin(), spellings.end(), exactly)) return 0;
  for (const Pattern& pattern : patterns_) {
    const auto matches = [&](const std::string& name) { return pattern.matches(name); };
    if (std::any_of(spellings.begin(), spellings.end(), matches)) return 1;
  }
  return exact_.contains("Linear") ? 2 : kNone;
}

/// One of config_groups. [CKPT-CT]
Quantization::Group Quantization::read_group(const Section& section) {
  absent_or(section, "format", {"float-quantized", "naive-quantized"});
  absent(section, {"output_activations"});
  for (const char* key : {"weights", "input_activations"}) {
    if (!section.has(key)) throw section.unsupported(key, "FP8 weights with FP8 input activations");
  }
  const Section weights = section.section("weights"), inputs = section.section("input_activations");
  const Activations activations = read_activations(section, inputs, read_weights(section, weights));
  return {false, {section, "targets"}, activations};
}

/// A list of targets under the name of a preset. [CKPT-CT]
Quantization::Group Quantization::read_preset(const Section& groups, const std::string& name) {
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return {false, {groups, name}, preset.activations};
  }
  throw groups.unsupported(name, "'FP8', 'FP8_DYNAMIC', 'FP8_BLOCK', or a group written out");
}

void Quantization::read_compressed_tensors(const Section& section) {
  if (!section.has("format")) throw section.wrong("format", "the name of a storage format");
  one_of(section, "format", section.string("format"), {"float-quantized", "naive-quantized"});
  absent_or(section, "quantization_status", {"compressed"});
  if (!section.section("transform_config").empty()) throw section.unsupported("transform_config", "empty");
  const Section sparsity = section.section("sparsity_config");
  if (!sparsity.empty() && !sparsity.has("format")) throw sparsity.unsupported("format", "'dense'");
  absent_or(sparsity, "format", {"dense"});
  const Section groups = section.section("config_groups");
  if (groups.empty()) throw section.wrong("config_groups", "an object that is not empty");
  for (const auto& [name, value] : groups.values()) {
    groups_.push_back(value.array() != nullptr ? read_preset(groups, name) : read_group(groups.section(name)));
  }
  if (section.has("kv_cache_scheme")) {
    check_kv_cache(section.section("kv_cache_scheme"));
    fp8_kv_cache_ = true;
  }
  ignore_ = Names(section, "ignore");
}

/// [CKPT-AUTOFP8]
void Quantization::read_autofp8(const Section& section) {
  absent(section, {"weight_block_size"});
  absent_or(section, "kv_cache_scheme", {"static"});
  fp8_kv_cache_ = section.has("kv_cache_scheme");
  if (section.string("activation_scheme") != "static") {
    throw section.unsupported("activation_scheme", "'static' (AutoFP8's 'dynamic' is one scale for all tokens)");
  }
  ignore_ = Names(section, section.has("ignored_layers") ? "ignored_layers" : "modules_to_not_convert");
  groups_.push_back({true, {}, Activations::per_tensor_static});
}

Quantization::Quantization(const Section& config) : file_(config.file()) {
  const std::optional<Section> section = locate(config);
  if (!section) return;
  const bool implied = section->has("config_groups") && !section->has("quant_method");
  const std::string method = implied ? "compressed-tensors" : section->string("quant_method");
  if (method == "compressed-tensors") {
    read_compressed_tensors(*section);
  } else if (method == "fp8") {
    read_autofp8(*section);
  } else {
    throw section->unsupported("quant_method", "'compressed-tensors', 'fp8'");
  }
}

Activations Quantization::activations(const std::string& module) const {
  if (groups_.empty()) {
    throw UnsupportedError(file_ + ": module " + quote(module) +
                           ": the weight is F8_E4M3, but there is no quantization config");
  }
  const std::vector<std::string> names = spellings(module);
  if (ignore_.rank(names) == Names::kNone) {
    const Group* best = nullptr;
    int best_rank = Names::kNone;
    for (const Group& group : groups_) {
      const int rank = group.all ? 2 : group.targets.rank(names);
      if (rank < best_rank) {
        best = &group;
        best_rank = rank;
      }
    }
    if (best != nullptr) return best->activations;
  }
  for (const Group& group : groups_) {
    if (group.activations != groups_.front().activations) {
      throw UnsupportedError(file_ + ": module " + quote(module) +
                             ": the weight is F8_E4M3, but several groups disagree on how activations are quantized");
    }
  }
  return groups_.front().activations;
}

}  // namespace fp8ref::checkpoint
