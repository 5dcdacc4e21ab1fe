// SPDX-License-Identifier: Apache-2.0
// A Llama checkpoint folder (spec/checkpoint.md): the model's numbers and every weight, checked completely. Weights are
// views of the mapped files; nothing is copied but scales, biases and tensors that a file puts at odd addresses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fp8ref/cpu.h"
#include "fp8ref/platform.h"

namespace fp8ref {

enum class Family { llama, llama4, mllama };

/// The attention temperature of layers without RoPE [LLAMA-TEMPERATURE].
struct Temperature {
  double floor_scale = 0, attn_scale = 0;
};

/// The mixture of experts of a Llama 4 [LLAMA-MOE].
struct MoeConfig {
  std::int64_t num_local_experts = 0;
  std::int64_t num_experts_per_tok = 0;
  std::int64_t intermediate_size = 0;  // of a routed expert, and of the shared one
};

/// What a decoder layer computes [LLAMA-LAYERS].
struct LayerKind {
  bool cross = false;                                        // cross-attention, with weighted norms of q and k
  std::optional<RopeLayout> rope = RopeLayout::rotate_half;  // none: NoPE
  std::int64_t chunk = 0;  // positions of a chunk of attention; 0: a token sees all before it
  bool qk_norm = false;    // weightless, after RoPE
  bool temperature = false;
  bool moe = false;
};

/// The numbers of config.json and generation_config.json [CKPT-MODEL], [CKPT-ROPE], [CKPT-EOS], [CKPT-LLAMA4],
/// [CKPT-MLLAMA], [CKPT-KV].
struct LlamaConfig {
  Family family = Family::llama;
  std::int64_t vocab_size = 0;
  std::int64_t embedding_rows = 0;  // of embed_tokens: token ids are below this
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;  // of dense layers
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
  bool fp8_kv_cache = false;
  std::optional<MoeConfig> moe;
  std::optional<Temperature> temperature;
  std::vector<std::int64_t> eos_token_ids;
};

/// A linear layer (out, in). It is FP8 if it has codes: then weight_scale has 1 or `out` entries or one for each block
/// of 128x128, and the activations are quantized per token, by input_scale where that is given, or, with blocks, in
/// groups of 128. [CKPT-SCALE], [CKPT-ACTIVATIONS]
struct Projection {
  std::int64_t out = 0;
  std::int64_t in = 0;
  const e4m3* codes = nullptr;
  const bf16* weight = nullptr;
  std::int64_t weight_stride = 0;  // not 0: fused experts, element (o, i) is weight[i * weight_stride + o]
  std::vector<float> weight_scale = {};
  bool block_scales = false;  // weight_scale is (ceil(out / 128), ceil(in / 128))
  std::optional<float> input_scale = {};
  std::vector<float> bias = {};  // empty if there is none
};

struct MlpWeights {
  Projection gate_proj, up_proj, down_proj;
};

/// A mixture of experts. Nothing of an expert but its scales has been read [CKPT-STREAM].
struct MoeWeights {
  const bf16* router = nullptr;     // (experts, hidden_size)
  std::vector<MlpWeights> experts;  // all alike [CKPT-EXPERTS]
  MlpWeights shared_expert;
};

/// What a cross-attention layer has besides its projections [LLAMA-CROSS].
struct CrossWeights {
  const bf16 *q_norm = nullptr, *k_norm = nullptr;       // (head_dim)
  const bf16 *attn_gate = nullptr, *mlp_gate = nullptr;  // (1)
};

struct LlamaLayerWeights {
  LayerKind kind;
  const bf16* input_layernorm = nullptr;
  Projection q_proj, k_proj, v_proj, o_proj;
  const bf16* post_attention_layernorm = nullptr;
  MlpWeights mlp;                 // of a dense layer
  std::optional<MoeWeights> moe;  // of the others
  std::optional<CrossWeights> cross;
  float k_scale = 1, v_scale = 1;  // of an FP8 cache [CKPT-KV-SCALES]
};

/// The mapped files that weights are views of. What a caller says here is about memory and time: weights stay readable
/// and their bits do not depend on it. Bytes that are not in a file's mapping (copies) are left alone. Any thread may
/// call. [CKPT-STREAM]
class WeightStorage {
 public:
  virtual ~WeightStorage() = default;
  /// These bytes are needed soon: the system begins to read them, and the call does not wait.
  virtual void prefetch(std::span<const std::byte> bytes) const = 0;
  /// These bytes are not needed for now: the whole pages among them leave the process's memory. Who reads them again
  /// gets them from the file again.
  virtual void release(std::span<const std::byte> bytes) const = 0;
};

/// Where a projection's weight lies. Of fused experts, gate and up lie in each other's bytes.
std::span<const std::byte> stored_bytes(const Projection& projection);

struct LlamaWeights {
  LlamaConfig config;
  const bf16* embed_tokens = nullptr;  // (embedding_rows, hidden_size)
  std::vector<LlamaLayerWeights> layers;
  const bf16* norm = nullptr;                    // (hidden_size)
  const bf16* lm_head = nullptr;                 // (vocab_size, hidden_size); embed_tokens where embeddings are tied
  std::shared_ptr<const WeightStorage> storage;  // all pointers above are valid as long as it lives
};

/// Opens a folder. Throws CheckpointError (damaged) or UnsupportedError (sound, but not implemented); the message names
/// the file and the tensor or the config key.
LlamaWeights read_llama(const std::string& folder);

}  // namespace fp8ref
