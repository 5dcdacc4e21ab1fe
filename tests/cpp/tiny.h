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

namespace fp8ref::test {

struct TinyTensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string data;
};

/// A checkpoint with channel scales and dynamic activations. Change what you like, then write it.
class Tiny {
 public:
  static constexpr std::int64_t kVocab = 80, kHidden = 48, kWide = 72, kHeads = 6, kKvHeads = 2, kDim = 8, kLayers = 2;

  std::map<std::string, std::string> config;  // JSON texts
  std::map<std::string, TinyTensor> tensors;
  std::string padding = "";  // behind the header

  Tiny() {
    auto number = [this](const char* key, std::int64_t value) { config[key] = std::to_string(value); };
    config["model_type"] = "\"llama\"";
    number("vocab_size", kVocab);
    number("hidden_size", kHidden);
    number("intermediate_size", kWide);
    number("num_hidden_layers", kLayers);
    number("num_attention_heads", kHeads);
    number("num_key_value_heads", kKvHeads);
    number("head_dim", kDim);
    number("max_position_embeddings", 2048);
    config["eos_token_id"] = "[]";
    config["quantization_config"] =
        R"({"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"], "config_groups":
            {"group_0": {"targets": ["Linear"], "weights": {"type": "float", "num_bits": 8, "strategy": "channel"},
            "input_activations": {"type": "float", "num_bits": 8, "strategy": "token", "dynamic": true}}}})";
    bf16("model.embed_tokens.weight", {kVocab, kHidden}, 0x3F00);
    for (std::int64_t i = 0; i < kLayers; ++i) add_layer("model.layers." + std::to_string(i) + ".");
    bf16("model.norm.weight", {kHidden}, 0x3F80);
    bf16("lm_head.weight", {kVocab, kHidden}, 0x3E00);
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

 private:
  static std::int64_t count(const std::vector<std::int64_t>& shape) {
    std::int64_t out = 1;
    for (const std::int64_t extent : shape) out *= extent;
    return out;
  }

  void fp8(const std::string& name, std::int64_t out, std::int64_t in) {
    std::string data;
    for (std::int64_t i = 0; i < out * in; ++i) data += static_cast<char>(random_() & 0xF7);  // no NaN code
    tensors[name + ".weight"] = {"F8_E4M3", {out, in}, data};
    bf16(name + ".weight_scale", {out, 1}, 0x3B00);
    for (std::size_t i = 1; i < tensors[name + ".weight_scale"].data.size(); i += 2) {
      tensors[name + ".weight_scale"].data[i] &= 0x7F;
    }
  }

  void add_layer(const std::string& prefix) {
    bf16(prefix + "input_layernorm.weight", {kHidden}, 0x3F80);
    bf16(prefix + "post_attention_layernorm.weight", {kHidden}, 0x3F80);
    fp8(prefix + "self_attn.q_proj", kHeads * kDim, kHidden);
    fp8(prefix + "self_attn.k_proj", kKvHeads * kDim, kHidden);
    fp8(prefix + "self_attn.v_proj", kKvHeads * kDim, kHidden);
    fp8(prefix + "self_attn.o_proj", kHidden, kHeads * kDim);
    fp8(prefix + "mlp.gate_proj", kWide, kHidden);
    fp8(prefix + "mlp.up_proj", kWide, kHidden);
    fp8(prefix + "mlp.down_proj", kHidden, kWide);
  }

  std::mt19937 random_{1};
};

}  // namespace fp8ref::test
