// SPDX-License-Identifier: Apache-2.0
// Tiny Llama checkpoints with random weights, to be damaged and written.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "fp8ref/checkpoint.h"

namespace fp8ref::test {

struct TinyTensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string data;
};

/// A checkpoint with channel scales and dynamic activations. Change what you like, then write it.
/// A Llama 4 has layers 1 and 3 with experts, and layer 3 without RoPE; in a Mllama 1 and 3 are cross-attention.
class Tiny {
 public:
  static constexpr std::int64_t kVocab = 80, kHidden = 48, kWide = 136, kHeads = 6, kKvHeads = 2, kDim = 8, kLayers = 2;
  static constexpr std::int64_t kOtherLayers = 4, kExperts = 4, kExpertWide = 40, kChunk = 4;  // Llama 4 and Mllama

  std::map<std::string, std::string> config;  // JSON texts
  std::map<std::string, TinyTensor> tensors;
  std::string padding = "";  // behind the header

  explicit Tiny(Family family = Family::llama) {
    const std::int64_t layers = family == Family::llama ? kLayers : kOtherLayers;
    const bool moe = family == Family::llama4;
    number("vocab_size", kVocab);
    number("hidden_size", kHidden);
    number(moe ? "intermediate_size_mlp" : "intermediate_size", kWide);
    number("num_hidden_layers", layers);
    number("num_attention_heads", kHeads);
    number("num_key_value_heads", kKvHeads);
    number("head_dim", kDim);
    number("max_position_embeddings", 2048);
    config["eos_token_id"] = "[]";
    config["quantization_config"] = scheme(R"("strategy": "channel")", R"("strategy": "token", "dynamic": true)");
    if (family == Family::llama) config["model_type"] = "\"llama\"";
    if (family == Family::llama4) configure_llama4();
    if (family == Family::mllama) configure_mllama();
    const std::int64_t more = family == Family::mllama ? 8 : 0;
    bf16("model.embed_tokens.weight", {kVocab + more, kHidden}, 0x3F00);
    for (std::int64_t i = 0; i < layers; ++i) add_layer(family, "model.layers." + std::to_string(i) + ".", i % 2 == 1);
    bf16("model.norm.weight", {kHidden}, 0x3F80);
    bf16("lm_head.weight", {kVocab, kHidden}, 0x3E00);
  }

  /// A quantization config; weights, inputs and the cache are what stands in the braces of each.
  static std::string scheme(const std::string& weights, const std::string& inputs, const std::string& cache = "") {
    const std::string fp8 = R"({"type": "float", "num_bits": 8, )";
    return R"({"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
              "config_groups": {"group_0": {"targets": ["Linear"], "weights": )" +
           fp8 + weights + R"(}, "input_activations": )" + fp8 + inputs + "}}}" +
           (cache.empty() ? "}" : R"(, "kv_cache_scheme": )" + fp8 + cache + "}}");
  }

  void number(const std::string& key, std::int64_t value) { config[key] = std::to_string(value); }

  /// The keys of the text model a level below, as models with a vision tower have them.
  void nest(const std::string& model_type) {
    const std::string method = config["quantization_config"];
    config.erase("quantization_config");
    const std::string text = config_text();
    config = {{"model_type", "\"" + model_type + "\""}, {"text_config", text}, {"quantization_config", method}};
  }

  /// Other beginnings of names in the place of "model." and "lm_head.".
  void respell(const std::string& model, const std::string& lm_head) {
    std::map<std::string, TinyTensor> named;
    for (auto& [name, tensor] : tensors) {
      const bool head = name.starts_with("lm_head.");
      named[(head ? lm_head : model) + name.substr(name.find('.') + 1)] = std::move(tensor);
    }
    tensors = std::move(named);
  }

  /// Experts as BF16, all of a layer in two tensors.
  void fuse_experts() {
    std::erase_if(tensors, [](const auto& item) { return item.first.find(".experts.") != item.first.npos; });
    for (const char* layer : {"1", "3"}) {
      const std::string prefix = std::string("model.layers.") + layer + ".feed_forward.experts.";
      bf16(prefix + "gate_up_proj", {kExperts, kHidden, 2 * kExpertWide}, 0x3D00);
      bf16(prefix + "down_proj", {kExperts, kExpertWide, kHidden}, 0x3D00);
    }
  }

  /// Scales for blocks of 128x128, and activations in groups.
  void quantize_in_blocks() {
    config["quantization_config"] = scheme(R"("strategy": "block", "block_structure": [128, 128])",
                                           R"("strategy": "group", "group_size": 128, "dynamic": true)");
    for (auto& [name, tensor] : tensors) {
      if (tensor.dtype != "F8_E4M3") continue;
      scale(name + "_scale", {(tensor.shape[0] + 127) / 128, (tensor.shape[1] + 127) / 128});
    }
  }

  /// As AutoFP8 has it: one scale for a weight, one for its input, and an FP8 cache.
  void quantize_statically() {
    config["quantization_config"] =
        R"({"quant_method": "fp8", "activation_scheme": "static", "kv_cache_scheme": "static"})";
    std::vector<std::string> modules;
    for (const auto& [name, tensor] : tensors) {
      if (tensor.dtype == "F8_E4M3") modules.push_back(name.substr(0, name.rfind('.')));
    }
    for (const std::string& module : modules) {
      for (const char* name : {".weight_scale", ".input_scale"}) scale(module + name, {});
    }
  }

  /// An FP8 cache with scales in the first layer.
  void quantize_cache() {
    config["quantization_config"] =
        scheme(R"("strategy": "channel")", R"("strategy": "token", "dynamic": true)", R"("strategy": "tensor")");
    for (const char* name : {"k_scale", "v_scale"}) scale(std::string("model.layers.0.self_attn.") + name, {1});
  }

  void tie_embeddings() {
    config["tie_word_embeddings"] = "true";
    tensors.erase("lm_head.weight");
  }

  std::string config_text() const {
    std::string out;
    for (const auto& [key, text] : config) out += (out.empty() ? "{\"" : ", \"") + key + "\": " + text;
    return out + "}";
  }

  /// The bytes of model.safetensors.
  std::string file() const {
    std::string header = "{", data;
    for (const auto& [name, tensor] : tensors) {
      if (header.size() > 1) header += ",";
      header += "\"" + name + "\":{\"dtype\":\"" + tensor.dtype + "\",\"shape\":[";
      for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
        if (i > 0) header += ",";
        header += std::to_string(tensor.shape[i]);
      }
      header += "],\"data_offsets\":[" + std::to_string(data.size()) + ",";
      data += tensor.data;
      header += std::to_string(data.size()) + "]}";
    }
    return joined(header + "}" + padding, data);
  }

  static std::string joined(const std::string& header, const std::string& data) {
    const std::uint64_t length = header.size();
    std::string out(8, '\0');
    std::memcpy(out.data(), &length, 8);
    return out + header + data;
  }

  /// Writes the folder anew and returns its path.
  std::string write(const std::filesystem::path& folder) const { return write(folder, file()); }
  std::string write(const std::filesystem::path& folder, const std::string& safetensors) const {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "config.json", std::ios::binary) << config_text();
    std::ofstream(folder / "model.safetensors", std::ios::binary) << safetensors;
    return folder.string();
  }

  /// Random signs and significands around a bf16 pattern.
  void bf16(const std::string& name, const std::vector<std::int64_t>& shape, std::uint16_t pattern) {
    std::string data;
    for (std::int64_t i = 0; i < count(shape); ++i) {
      const auto bits = static_cast<std::uint16_t>(pattern ^ (random_() & 0x807F));
      data.append(reinterpret_cast<const char*>(&bits), 2);
    }
    tensors[name] = {"BF16", shape, data};
  }

  /// A projection of random codes.
  void fp8(const std::string& name, std::int64_t out, std::int64_t in) {
    std::string data;
    for (std::int64_t i = 0; i < out * in; ++i) data += static_cast<char>(random_() & 0xF7);  // no NaN code
    tensors[name + ".weight"] = {"F8_E4M3", {out, in}, data};
    scale(name + ".weight_scale", {out, 1});
  }

  /// Random scales, of sound sign.
  void scale(const std::string& name, const std::vector<std::int64_t>& shape) {
    bf16(name, shape, 0x3B00);
    std::string& data = tensors[name].data;
    for (std::size_t i = 1; i < data.size(); i += 2) data[i] &= 0x7F;
  }

 private:
  static std::int64_t count(const std::vector<std::int64_t>& shape) {
    std::int64_t out = 1;
    for (const std::int64_t extent : shape) out *= extent;
    return out;
  }

  void configure_llama4() {
    config["model_type"] = "\"llama4_text\"";
    number("intermediate_size", kExpertWide);
    number("num_local_experts", kExperts);
    number("interleave_moe_layer_step", 2);
    number("attention_chunk_size", kChunk);
    number("attn_temperature_tuning", 4);
    number("floor_scale", 2);
  }

  void configure_mllama() {
    config["model_type"] = "\"mllama_text_model\"";
    config["cross_attention_layers"] = "[1, 3]";
  }

  void add_mlp(const std::string& prefix, std::int64_t wide) {
    fp8(prefix + "gate_proj", wide, kHidden);
    fp8(prefix + "up_proj", wide, kHidden);
    fp8(prefix + "down_proj", kHidden, wide);
  }

  void add_experts(const std::string& prefix) {
    bf16(prefix + "router.weight", {kExperts, kHidden}, 0x3E00);
    for (std::int64_t e = 0; e < kExperts; ++e) add_mlp(prefix + "experts." + std::to_string(e) + ".", kExpertWide);
    add_mlp(prefix + "shared_expert.", kExpertWide);
  }

  void add_layer(Family family, const std::string& prefix, bool odd) {
    const bool cross = family == Family::mllama && odd;
    const std::string attention = prefix + (cross ? "cross_attn." : "self_attn.");
    bf16(prefix + "input_layernorm.weight", {kHidden}, 0x3F80);
    bf16(prefix + "post_attention_layernorm.weight", {kHidden}, 0x3F80);
    fp8(attention + "q_proj", kHeads * kDim, kHidden);
    fp8(attention + "k_proj", kKvHeads * kDim, kHidden);
    fp8(attention + "v_proj", kKvHeads * kDim, kHidden);
    fp8(attention + "o_proj", kHidden, kHeads * kDim);
    if (cross) {
      for (const char* name : {"q_norm", "k_norm"}) bf16(attention + name + ".weight", {kDim}, 0x3F80);
      for (const char* name : {"attn_gate", "mlp_gate"}) bf16(prefix + "cross_attn_" + name, {1}, 0x3E80);
    }
    if (family == Family::llama4 && odd) {
      add_experts(prefix + "feed_forward.");
    } else {
      add_mlp(prefix + (family == Family::llama4 ? "feed_forward." : "mlp."), kWide);
    }
  }

  std::mt19937 random_{1};
};

}  // namespace fp8ref::test
