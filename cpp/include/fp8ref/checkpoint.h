// SPDX-License-Identifier: Apache-2.0
// A Llama checkpoint folder (spec/checkpoint.md): the model's numbers and every weight, checked completely. Weights are
// views of the mapped files; nothing is copied but scales, biases and tensors that a file puts at odd addresses.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fp8ref/cpu.h"
#include "fp8ref/platform.h"

namespace fp8ref {

/// The numbers of config.json and generation_config.json [CKPT-MODEL], [CKPT-ROPE], [CKPT-EOS].
struct LlamaConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0;
  double rope_theta = 0;
  std::optional<RopeScaling> rope_scaling;
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  std::vector<std::int64_t> eos_token_ids;
};

/// A linear layer (out, in). It is FP8 if it has codes: then weight_scale has 1 or `out` entries, and the activations
/// are quantized per token, or by input_scale where that is given. [CKPT-SCALE], [CKPT-ACTIVATIONS]
struct Projection {
  std::int64_t out = 0;
  std::int64_t in = 0;
  const e4m3* codes = nullptr;
  const bf16* weight = nullptr;
  std::vector<float> weight_scale = {};
  std::optional<float> input_scale = {};
  std::vector<float> bias = {};  // empty if there is none
};

struct LlamaLayerWeights {
  const bf16* input_layernorm = nullptr;
  Projection q_proj, k_proj, v_proj, o_proj;
  const bf16* post_attention_layernorm = nullptr;
  Projection gate_proj, up_proj, down_proj;
};

struct LlamaWeights {
  LlamaConfig config;
  const bf16* embed_tokens = nullptr;  // (vocab_size, hidden_size)
  std::vector<LlamaLayerWeights> layers;
  const bf16* norm = nullptr;           // (hidden_size)
  const bf16* lm_head = nullptr;        // (vocab_size, hidden_size); embed_tokens where embeddings are tied
  std::shared_ptr<const void> storage;  // keeps the mapped files: all pointers above are valid as long as it lives
};

/// Opens a folder. Throws CheckpointError (damaged) or UnsupportedError (sound, but not implemented); the message names
/// the file and the tensor or the config key.
LlamaWeights read_llama(const std::string& folder);

}  // namespace fp8ref
