// SPDX-License-Identifier: Apache-2.0
// The parts of a Llama's forward pass, on whatever device its Ops work. Internal.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fp8ref/llama.h"
#include "kv_cache.h"
#include "ops.h"

namespace fp8ref {

/// The numbers of a model, rounded as its operations take them.
struct Setup {
  Setup(const LlamaConfig& config, Accumulate accumulator);

  const LlamaConfig config;
  const std::optional<Accumulate> fp8;  // the accumulator of FP8 projections [LLAMA-MODES]
  const Accumulate mode;                // of the others, lm_head and attention
  const float eps;                      // [LLAMA-NORM]
  const float log2e_scale;              // [LLAMA-ATTENTION]
};

/// Throws OpError if some projection is FP8 and the mode has no FP8 matrix product.
void check_projections(const LlamaWeights& weights, const Setup& setup);

/// A projection on its device. What `linear` wants to know of the rows is there where it is bf16.
struct Linear {
  Linear(Ops& ops, const Projection& projection);

  std::int64_t out, in;
  const e4m3* codes;   // or
  const bf16* weight;  // the other is nullptr
  std::optional<float> input_scale;
  std::int64_t weight_scale_stride;
  Buffer<float> weight_scale, input_scale_there;
  std::optional<Buffer<float>> bias;
  std::optional<Buffer<RowFacts>> facts;
};

struct Layer {
  Layer(Ops& ops, const LlamaLayerWeights& weights, std::int64_t hidden);

  const bf16 *input_layernorm, *post_attention_layernorm;
  Linear q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj;
};

/// RoPE tables of the positions seen so far. [LLAMA-ROPE]
class RopeTable {
 public:
  RopeTable(Ops& ops, const LlamaConfig& config);

  /// Makes positions 0 to count - 1 available.
  void extend(std::int64_t count);
  const float* cos(std::int64_t position) const { return cos_.data() + position * half(); }
  const float* sin(std::int64_t position) const { return sin_.data() + position * half(); }
  std::int64_t half() const { return static_cast<std::int64_t>(frequencies_.size()); }

 private:
  Ops& ops_;
  const std::int64_t limit_;
  std::vector<float> frequencies_;
  std::int64_t known_ = 0, capacity_ = 0;
  Buffer<float> cos_, sin_;
};

/// The activations of a pass, kept from one pass to the next so that decoding allocates nothing here.
struct Scratch {
  Scratch(Ops& ops, const LlamaConfig& config, std::int64_t rows);

  const std::int64_t rows;
  Buffer<bf16> stream, normed, q, mixed, gate, up, projected;
  Buffer<e4m3> codes;
  Buffer<float> scales;
};

/// `rows` tokens on their way through the layers. Their positions begin at `first`.
class Pass {
 public:
  Pass(Ops& ops, const Setup& setup, const RopeTable& rope, KvCache& cache, Scratch& scratch, const Trace& trace,
       std::int64_t first, std::int64_t rows);

  void embed(const bf16* table, std::span<const std::int64_t> tokens);
  void attend(std::int64_t index, const Layer& layer);
  void mlp(std::int64_t index, const Layer& layer);
  /// The last norm, of the last `count` tokens of the pass.
  void norm(const bf16* weight, std::int64_t count);
  /// bf16 logits of `rows` tokens of the pass from its token `first` on, after norm().
  void logits(const Linear& lm_head, std::int64_t first, std::int64_t rows, bf16* out);

 private:
  struct Input;

  float* scales_for(const Linear& linear) const;
  Input normalise(const bf16* weight, const Linear& next, const std::string& name);
  void quantize(Input& input, const Linear& linear);
  void project(const std::string& name, const Linear& linear, Input& input, bf16* out);
  void add_to_stream(const std::string& name);
  void record(const std::string& name, const bf16* data, std::int64_t cols) const;
  void record(const std::string& name, TraceValue::Type type, const void* data, std::int64_t rows,
              std::int64_t cols) const;
  std::string layer_name(std::int64_t index) const;

  Ops& ops_;
  const Setup& setup_;
  const LlamaConfig& config_;
  const RopeTable& rope_;
  KvCache& cache_;
  Scratch& scratch_;
  const Trace& trace_;
  const std::int64_t first_, rows_;
};

/// The model of a folder on the device of `ops`. Throws CheckpointError, UnsupportedError, and what its memory does.
std::unique_ptr<Llama> load_llama(const std::string& folder, Accumulate accumulate, std::unique_ptr<Ops> ops);

}  // namespace fp8ref
