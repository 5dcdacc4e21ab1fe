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
#include "llama_layers.h"
#include "ops.h"
#include "position_tables.h"

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

/// Room for the codes and scales of the inputs of projections.
struct Codes {
  /// For so many numbers in at most so many rows.
  Codes(Ops& ops, std::int64_t rows, std::int64_t numbers);

  Buffer<e4m3> codes;
  Buffer<float> scales;
};

/// What a mixture of experts works with besides; nothing in a model without.
struct MoeScratch {
  MoeScratch(Ops& ops, const LlamaConfig& config, std::int64_t tokens);

  Buffer<bf16> logits, scores, inputs;
  Buffer<std::int64_t> ids, order, offsets;
};

/// The activations of a pass, kept from one pass to the next so that decoding allocates nothing here.
struct Scratch {
  Scratch(Ops& ops, const LlamaConfig& config, std::int64_t tokens);

  const std::int64_t tokens;
  Buffer<bf16> stream, normed, q, mixed, gate, up, projected;
  Codes codes;
  MoeScratch moe;
};

/// Vision states on the device, for the forward that they came with.
struct Vision {
  Vision(Ops& ops, const LlamaConfig& config, const VisionStates& host);

  const std::int64_t rows;
  Buffer<bf16> states;
  Codes codes;
};

/// What a pass works with.
struct Workplace {
  Ops& ops;
  const Setup& setup;
  const PositionTables& tables;
  KvCache& cache;
  Scratch& scratch;
  const Trace& trace;
  const Image* image;    // nullptr: layers of cross-attention are left out
  const Vision* vision;  // nullptr: the image is there already
};

/// `tokens` tokens on their way through the layers. Their positions begin at `first`.
class Pass {
 public:
  Pass(const Workplace& at, std::int64_t first, std::int64_t tokens);

  void embed(const bf16* table, std::span<const std::int64_t> tokens);
  void attend(std::int64_t index, const Layer& layer);
  void feed_forward(std::int64_t index, const Layer& layer);
  /// The last norm, of the last `count` tokens of the pass.
  void norm(const bf16* weight, std::int64_t count);
  /// bf16 logits of `rows` tokens of the pass from its token `first` on, after norm().
  void logits(const Linear& lm_head, std::int64_t first, std::int64_t rows, bf16* out);

 private:
  /// The input of one or more projections. Its FP8 form is made once and shared by those that quantize it alike.
  struct Input {
    const bf16* values;
    std::int64_t rows, cols;
    const Codes* room;
    const Activations* form = nullptr;  // of the codes that are in the room

    bool has(const Activations& wanted) const { return form != nullptr && *form == wanted; }
  };
  using Type = TraceValue::Type;

  // llama_pass.cpp
  static float* scales_of(const Linear& linear, const Codes& room);
  Input normalise(const bf16* weight, const Linear& next, const std::string& name);
  void project(const std::string& name, const Linear& linear, Input& input, bf16* out);
  ScaledMmArgs product(const Input& input, const WeightScales& scales, std::int64_t out) const;
  void add_to_stream(const std::string& name, const bf16* gate);
  void record(const std::string& name, const bf16* data, std::int64_t cols) const;
  void record(const std::string& name, Type type, const void* data, std::int64_t rows, std::int64_t cols) const;
  std::vector<std::byte> downloaded(Type type, const void* data, std::int64_t count) const;
  std::string layer_name(std::int64_t index) const;

  // llama_attention.cpp
  void see_tokens(std::int64_t index, const Layer& layer, const std::string& prefix, Input& input);
  void see_image(std::int64_t index, const Layer& layer, const std::string& prefix);
  void through_codes(const std::string& name, bf16* values, e4m3* codes, const Buffer<float>& scale);
  void norm_heads(const std::string& name, bf16* x, std::int64_t rows, std::int64_t heads, const bf16* weight);
  void mix(const bf16* k, const bf16* v, std::int64_t length, Mask mask, std::int64_t chunk);

  // llama_mlp.cpp
  void mlp(const std::string& prefix, const Mlp& mlp, Input& input);
  void moe(const std::string& prefix, const Moe& moe, Input& input);
  Input multiply(std::int64_t rows, std::int64_t cols, const Activations& next, float* scales);
  void project_experts(const std::string& name, const ExpertLinear& linear, Input& input, bf16* out);
  void record_experts(const std::string& name, Type type, const void* data, std::int64_t cols) const;

  Ops& ops_;
  const Setup& setup_;
  const LlamaConfig& config_;
  const PositionTables& tables_;
  KvCache& cache_;
  Scratch& scratch_;
  const Trace& trace_;
  const Image* const image_;
  const Vision* const vision_;
  const std::int64_t first_, tokens_;
};

/// The model on the device of `ops`. Throws OpError where the mode cannot run it, and what its memory does.
std::unique_ptr<Llama> make_llama(const LlamaWeights& weights, Accumulate accumulate, std::unique_ptr<Ops> ops);

}  // namespace fp8ref
