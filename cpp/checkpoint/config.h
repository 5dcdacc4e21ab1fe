// SPDX-License-Identifier: Apache-2.0
// config.json: the model's numbers, and which modules are FP8 and how their activations are quantized. Internal.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "checkpoint/json.h"
#include "checkpoint/pattern.h"
#include "fp8ref/checkpoint.h"

namespace fp8ref::checkpoint {

/// [CKPT-MODEL], [CKPT-ROPE], [CKPT-EOS]
LlamaConfig read_config(const Section& config, const Section& generation_config);

enum class Activations { per_token, per_tensor_static };

/// The quantization config. [CKPT-QUANT-KEY] to [CKPT-MATCH]
class Quantization {
 public:
  explicit Quantization(const Section& config);

  /// How the input of a projection with FP8 weights is quantized. Throws UnsupportedError if nothing says so.
  /// [CKPT-ACTIVATIONS]
  Activations activations(const std::string& module) const;

 private:
  /// Module names, `re:` patterns and class names. [CKPT-MATCH]
  class Names {
   public:
    Names() = default;
    Names(const Section& section, std::string_view key);
    /// How a module matches: 0 by its name, 1 by a pattern, 2 by its class; kNone if it does not.
    int rank(const std::string& module) const;
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

  std::string file_;
  std::vector<Group> groups_;
  Names ignore_;
};

}  // namespace fp8ref::checkpoint
