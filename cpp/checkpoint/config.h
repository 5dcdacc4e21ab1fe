// SPDX-License-Identifier: Apache-2.0
// config.json: the model's numbers, and which modules are FP8 and how their activations are quantized. Internal.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "checkpoint/json.h"
#include "checkpoint/layers.h"
#include "checkpoint/pattern.h"
#include "fp8ref/checkpoint.h"

namespace fp8ref::checkpoint {

constexpr std::int64_t kMaxPositions = 1 << 24;  // positions below are exact in fp32

/// What config.json says of a model, but for its quantization.
struct Model {
  LlamaConfig numbers;
  LayerKinds kinds;
};

/// [CKPT-MODEL], [CKPT-LLAMA4], [CKPT-MLLAMA], [CKPT-ROPE], [CKPT-EOS]
Model read_model(const Section& config, const Section& generation_config);

/// A width or a count, with the family's default. [CKPT-MODEL]
std::int64_t read_size(const Section& text, std::string_view key, Family family);

/// A number that is positive and finite in fp32, as the operations round it.
double read_positive(const Section& section, std::string_view key);
double read_positive(const Section& section, std::string_view key, double otherwise);

/// Groups of 128 belong to weights with a scale for each block of 128x128, and only to them. [CKPT-ARGS]
enum class Activations { per_token, per_tensor_static, group_128 };

/// The quantization config. [CKPT-QUANT-KEY] to [CKPT-MATCH]
class Quantization {
 public:
  explicit Quantization(const Section& config);

  /// How the input of a projection with FP8 weights is quantized. Throws UnsupportedError if nothing says so.
  /// [CKPT-ACTIVATIONS]
  Activations activations(const std::string& module) const;

  /// [CKPT-KV]
  bool fp8_kv_cache() const { return fp8_kv_cache_; }

 private:
  /// Module names, `re:` patterns and class names. [CKPT-MATCH]
  class Names {
   public:
    Names() = default;
    Names(const Section& section, std::string_view key);
    /// How a module, in any of the spellings of its name, matches: 0 by name, 1 by a pattern, 2 by its class; kNone if
    /// it does not.
    int rank(const std::vector<std::string>& spellings) const;
    static constexpr int kNone = 3;

   private:
    std::unordered_set<std::string> exact_;
    std::vector<Pattern> patterns_;
  };

  struct Group {
    bool all;  // every linear layer, whatever the targets
    Names targets;
    Activations activations;
  };

  void read_compressed_tensors(const Section& section);
  void read_autofp8(const Section& section);
  static Group read_group(const Section& section);
  static Group read_preset(const Section& groups, const std::string& name);

  std::string file_;
  bool fp8_kv_cache_ = false;
  std::vector<Group> groups_;
  Names ignore_;
};

}  // namespace fp8ref::checkpoint
