// SPDX-License-Identifier: Apache-2.0
// Checkpoints with a few things wrong, or unusual: what a fuzzer of bytes would take years to come by.
#pragma once

#include <array>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tiny.h"

namespace fp8ref::test {

/// Sound checkpoints of all families and schemes, changed in up to four ways.
class Scrambler {
  std::mt19937_64 random_;
  std::vector<Tiny> sound_;

  std::size_t below(std::size_t n) { return random_() % n; }

  template <class List>
  const auto& one_of(const List& list) {
    return *std::next(std::begin(list), static_cast<std::ptrdiff_t>(below(std::size(list))));
  }

 public:
  explicit Scrambler(std::uint64_t seed) : random_(seed) {
    for (const Family family : {Family::llama, Family::llama4, Family::mllama}) {
      const Tiny plain(family);
      for (int scheme = 0; scheme < 4; ++scheme) {
        Tiny tiny = plain;
        if (scheme == 1) tiny.quantize_in_blocks();
        if (scheme == 2) tiny.quantize_cache();
        if (scheme == 3) tiny.quantize_statically();
        sound_.push_back(tiny);
      }
      if (family != Family::llama4) continue;
      sound_.push_back(plain);
      sound_.back().fuse_experts();
    }
  }

  Tiny operator()() {
    Tiny tiny = one_of(sound_);
    for (std::size_t i = 0, count = below(5); i < count; ++i) change(tiny);
    const std::string type = tiny.config["model_type"];
    if (below(3) == 0 && type.ends_with("_text\"")) tiny.nest("llama4");
    if (below(3) == 0 && type.ends_with("_text_model\"")) tiny.nest("mllama");
    if (below(4) == 0)
      tiny.respell(below(2) == 0 ? "language_model.model." : "model.language_model.", "model.lm_head.");
    if (below(4) == 0) tiny.padding = std::string(1 + below(3), ' ');
    return tiny;
  }

 private:
  void change(Tiny& tiny) {
    switch (below(8)) {
      case 0:
        tiny.tensors.erase(one_of(tiny.tensors).first);
        break;
      case 1:
        rename(tiny);
        break;
      case 2:
        retype(tiny);
        break;
      case 3:
        reshape(tiny);
        break;
      case 4:
        add(tiny);
        break;
      case 5:
        damage(tiny);
        break;
      default:
        configure(tiny);
    }
  }

  void rename(Tiny& tiny) {
    static const std::string parts[][2] = {{"model.", "language_model.model."},
                                           {"model.", "model.vision_model."},
                                           {"layers.0.", "layers.1."},
                                           {"layers.1.", "layers.7."},
                                           {"experts.1.", "experts.4."},
                                           {"self_attn", "cross_attn"},
                                           {"mlp", "feed_forward"},
                                           {".weight", ""},
                                           {"weight_scale", "input_scale"},
                                           {"up_proj", "gate_up_proj"}};
    const std::string name = one_of(tiny.tensors).first;
    const auto& [from, to] = one_of(parts);
    const std::size_t at = name.find(from);
    if (at == name.npos) return;
    std::string other = name;
    other.replace(at, from.size(), to);
    tiny.tensors[other] = tiny.tensors.at(name);
    if (below(2) == 0) tiny.tensors.erase(name);
  }

  void retype(Tiny& tiny) {
    static const std::string dtypes[] = {"BF16", "F16", "F32", "F8_E4M3", "U8", "F8_E8M0"};
    TinyTensor& tensor = tiny.tensors.at(one_of(tiny.tensors).first);
    const std::string dtype = one_of(dtypes);
    const auto item = [](const std::string& name) -> std::size_t {
      return name == "F32" ? 4 : name == "BF16" || name == "F16" ? 2 : 1;
    };
    tensor.data.resize(tensor.data.size() / item(tensor.dtype) * item(dtype), '\x3C');
    tensor.dtype = dtype;
  }

  void reshape(Tiny& tiny) {
    std::vector<std::int64_t>& shape = tiny.tensors.at(one_of(tiny.tensors).first).shape;
    switch (shape.empty() ? 1 : below(4)) {
      case 0:
        std::swap(shape.front(), shape.back());
        break;
      case 1:
        shape.push_back(1);
        break;
      case 2:
        if (shape.back() == 1) shape.pop_back();
        break;
      default:
        shape.insert(shape.begin(), 1);
    }
  }

  void add(Tiny& tiny) {
    static const std::string names[] = {"k_scale",
                                        "v_scale",
                                        "kv_scale",
                                        "k_proj.output_scale",
                                        "v_proj.output_scale",
                                        "k_proj.k_scale",
                                        "v_proj.v_scale",
                                        "q_proj.input_scale",
                                        "q_proj.weight_scale",
                                        "k_proj.bias",
                                        "rotary_emb.inv_freq",
                                        "q_norm.weight"};
    const std::vector<std::int64_t> shapes[] = {{}, {1}, {1, 1}, {8}, {48, 1}};
    const std::string layer = "model.layers." + std::to_string(below(3)) + ".self_attn.";
    const bool pair = below(2) == 0;
    const std::size_t first = pair ? 2 * below(4) : below(std::size(names));
    const std::vector<std::int64_t>& shape = one_of(shapes);
    for (std::size_t i = 0; i < (pair ? 2 : 1); ++i) tiny.scale(layer + names[(first + i) % std::size(names)], shape);
  }

  void damage(Tiny& tiny) {
    std::string& data = tiny.tensors.at(one_of(tiny.tensors).first).data;
    if (!data.empty())
      data[data.size() - 1 - below(std::min<std::size_t>(data.size(), 8))] =
          one_of(std::array{'\x00', '\x7F', '\x80', '\xFF'});
  }

  void configure(Tiny& tiny) {
    static const std::string keys[] = {"vocab_size",
                                       "hidden_size",
                                       "intermediate_size",
                                       "intermediate_size_mlp",
                                       "num_hidden_layers",
                                       "num_attention_heads",
                                       "num_key_value_heads",
                                       "head_dim",
                                       "max_position_embeddings",
                                       "rms_norm_eps",
                                       "tie_word_embeddings",
                                       "attention_bias",
                                       "mlp_bias",
                                       "num_local_experts",
                                       "num_experts_per_tok",
                                       "moe_layers",
                                       "interleave_moe_layer_step",
                                       "no_rope_layers",
                                       "no_rope_layer_interval",
                                       "layer_types",
                                       "attention_chunk_size",
                                       "use_qk_norm",
                                       "attn_temperature_tuning",
                                       "floor_scale",
                                       "attn_scale",
                                       "cross_attention_layers",
                                       "rope_theta",
                                       "rope_scaling",
                                       "rope_parameters",
                                       "eos_token_id",
                                       "hidden_act",
                                       "hidden_activation",
                                       "model_type",
                                       "architectures",
                                       "quantization_config",
                                       "text_config",
                                       "compression_config"};
    static const std::string values[] = {
        "null",
        "true",
        "false",
        "0",
        "1",
        "2",
        "3",
        "4",
        "8",
        "16",
        "48",
        "-1",
        "2147483647",
        "1048576",
        "16777216",
        "0.5",
        "1e-5",
        "1e300",
        "[]",
        "[0]",
        "[1, 3]",
        "[3, 1]",
        "[1, 1, 1, 0]",
        "[0, 1, 0, 1]",
        "[1, 3, 1]",
        "[4]",
        "[1, true]",
        "{}",
        "\"silu\"",
        "\"gelu\"",
        R"(["chunked_attention", "chunked_attention",
        "chunked_attention", "full_attention"])",
        R"({"rope_type": "default", "rope_theta": 5e5})",
        R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
        "original_max_position_embeddings": 8192})",
        R"({"quant_method": "fp8", "activation_scheme": "static"})",
        "\"llama\"",
        "\"llama4_text\"",
        "\"mllama_text_model\"",
        R"(["MllamaForCausalLM"])",
        R"({"quant_method": "compressed-tensors", "format": "float-quantized", "kv_cache_scheme": {"type": "float"},
        "config_groups": {"FP8_BLOCK": ["re:.*mlp"], "FP8": ["language_model.model.layers.0.self_attn.q_proj"],
        "FP8_DYNAMIC": ["Linear"]}})",
        R"({"quant_method": "compressed-tensors", "format": "float-quantized",
        "config_groups": {"FP8_DYNAMIC": ["Linear"], "FP8": ["re:.*layers.0"]}, "ignore": ["re:.*q_proj"]})",
        R"({"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"g": {"targets":
        ["Linear"], "weights": {"type": "float", "strategy": "block", "block_structure": "128x128"},
        "input_activations": {"type": "float", "strategy": "group", "group_size": 128, "dynamic": true}}}})"};
    tiny.config[one_of(keys)] = one_of(values);
    if (below(4) == 0) tiny.config.erase(one_of(keys));
  }
};

}  // namespace fp8ref::test
