// SPDX-License-Identifier: Apache-2.0
// A whole Llama (3, 3.1, 3.2, 3.3 text) on the CPU, from a checkpoint folder to token ids; needs no Python.
// The numeric contract is spec/llama.md; bits are those of the golden model, however the prompt is cut.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fp8ref/platform.h"

namespace fp8ref {

struct LlamaConfig {
  std::int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads,
      head_dim, max_position_embeddings;
  double rms_norm_eps;
  double rope_theta;
  bool rope_llama3;  // the scaling below applies
  double rope_factor, rope_low_freq_factor, rope_high_freq_factor, rope_original_max_position_embeddings;
  bool tie_word_embeddings;
  std::vector<std::int64_t> eos_token_ids;
};

/// Called with every intermediate of a forward, under the names of spec/llama.md [LLAMA-TRACE].
struct TraceValue {
  std::string name;
  enum class Type { bfloat16, uint8, float32 } type;
  std::int64_t rows, cols;
  const void* data;  // valid during the call only
};
using Trace = std::function<void(const TraceValue&)>;

class Llama {
 public:
  /// Reads config.json and the safetensors of a folder; throws CheckpointError or UnsupportedError.
  static std::unique_ptr<Llama> load(const std::string& folder, Accumulate accumulate);
  virtual ~Llama() = default;

  virtual const LlamaConfig& config() const = 0;

  /// Forgets the KV cache.
  virtual void reset() = 0;
  /// Tokens in the KV cache.
  virtual std::int64_t length() const = 0;
  /// Appends tokens to the cache. Logits (fp32) of the last `logits_rows` tokens go to `logits` (logits_rows, vocab_size);
  /// logits_rows may be 0. `poll` is called between layers and may throw to interrupt (the cache is then as before).
  virtual void forward(std::span<const std::int64_t> tokens, std::int64_t logits_rows, float* logits,
                       const Trace& trace = {}, const std::function<void()>& poll = {}) = 0;
  /// Greedy: resets, prefills and decodes until an EOS id (which is included) or max_new_tokens. Returns the new ids only.
  std::vector<std::int64_t> generate(std::span<const std::int64_t> prompt, std::int64_t max_new_tokens,
                                     const std::function<void(std::int64_t)>& on_token = {},
                                     const std::function<void()>& poll = {});
};

}  // namespace fp8ref
