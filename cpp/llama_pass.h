// SPDX-License-Identifier: Apache-2.0
// The parts of a Llama's forward pass. Internal.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fp8ref/cpu.h"
#include "fp8ref/llama.h"
#include "kv_cache.h"

namespace fp8ref::cpu {

/// The numbers of a model, rounded as its operations take them.
struct Setup {
  Setup(const LlamaConfig& config, Accumulate accumulator);

  const LlamaConfig config;
  const Accumulate accumulate;
  const float eps;          // [LLAMA-NORM]
  const float log2e_scale;  // [LLAMA-ATTENTION]
};

/// A projection and what `linear` wants to know of its rows where it is bf16.
struct Linear {
  explicit Linear(Projection projection);

  Projection weights;
  std::vector<RowFacts> facts;
};

struct Layer {
  explicit Layer(LlamaLayerWeights weights);

  const bf16 *input_layernorm, *post_attention_layernorm;
  Linear q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj;
};

/// RoPE tables of the positions seen so far. [LLAMA-ROPE]
class RopeTable {
 public:
  explicit RopeTable(const LlamaConfig& config);

  /// Makes positions 0 to count - 1 available.
  void extend(std::int64_t count);
  const float* cos(std::int64_t position) const { return cos_.data() + position * half(); }
  const float* sin(std::int64_t position) const { return sin_.data() + position * half(); }
  std::int64_t half() const { return static_cast<std::int64_t>(frequencies_.size()); }

 private:
  std::vector<float> frequencies_, cos_, sin_;
};

/// The activations of a pass, kept from one pass to the next so that decoding allocates nothing here.
struct Scratch {
  void reserve(const LlamaConfig& config, std::int64_t rows);

  std::vector<bf16> stream, normed, q, mixed, gate, up, projected;
  std::vector<e4m3> codes;
  std::vector<float> scales;

 private:
  std::int64_t rows_ = 0;
};

/// `rows` tokens on their way through the layers. Their positions begin at `first`.
class Pass {
 public:
  Pass(const Setup& setup, const RopeTable& rope, KvCache& cache, Scratch& scratch, const Trace& trace,
       std::int64_t first, std::int64_t rows);

  void embed(const bf16* table, std::span<const std::int64_t> tokens);
  void attend(std::int64_t index, const Layer& layer);
  void mlp(std::int64_t index, const Layer& layer);
  /// Logits of the last `count` tokens of the pass.
  void head(const bf16* norm, const bf16* lm_head, const RowFacts* facts, std::int64_t count, float* logits,
            const Poll& poll);

 private:
  struct Input;

  void normalise(const bf16* weight, std::int64_t from, const std::string& name);
  void quantize(Input& input, const Projection& projection);
  void project(const std::string& name, const Linear& linear, Input& input, bf16* out);
  void add_to_stream(const std::string& name);
  void record(const std::string& name, const bf16* data, std::int64_t cols) const;
  void record(const std::string& name, TraceValue::Type type, const void* data, std::int64_t rows,
              std::int64_t cols) const;
  std::string layer_name(std::int64_t index) const;

  const Setup& setup_;
  const LlamaConfig& config_;
  const RopeTable& rope_;
  KvCache& cache_;
  Scratch& scratch_;
  const Trace& trace_;
  const std::int64_t first_, rows_;
};

}  // namespace fp8ref::cpu
