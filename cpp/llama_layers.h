// SPDX-License-Identifier: Apache-2.0
// The weights of a Llama on the device of its Ops. Internal.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "fp8ref/checkpoint.h"
#include "ops.h"

namespace fp8ref {

/// How the input of a projection becomes codes. [CKPT-ACTIVATIONS]
struct Activations {
  explicit Activations(const Projection& projection);

  const Rule* rule;          // nullptr: the projection is bf16 and takes its input as it is
  std::vector<float> given;  // of a static rule: its scale; of experts, one for each

  bool operator==(const Activations&) const = default;
  /// Scales of one row, where the rule makes them.
  std::int64_t scales_of_row(std::int64_t cols) const;
};

/// The scales of a weight, or of one weight of each expert. [CKPT-SCALE]
struct WeightScales {
  WeightScales(Ops& ops, const Projection& like, const std::vector<float>& values);

  Buffer<float> data;
  Scales scales;
  std::int64_t of_expert;  // from one expert's to the next one's
  ScaleView view;
};

/// A projection. What `linear` wants to know of the rows is there where it is bf16.
struct Linear {
  Linear(Ops& ops, const Projection& projection);

  std::int64_t out, in;
  const e4m3* codes;   // or
  const bf16* weight;  // the other is nullptr
  Activations activations;
  WeightScales weight_scale;
  Buffer<float> input_scale;
  std::optional<Buffer<float>> bias;
  std::optional<Buffer<RowFacts>> facts;
};

/// The same projection of each expert of a layer. Weights are touched when they are used. [CKPT-EXPERTS], [CKPT-STREAM]
struct ExpertLinear {
  ExpertLinear(Ops& ops, const std::vector<MlpWeights>& experts, Projection MlpWeights::* member);

  std::int64_t out, in, weight_stride;
  std::vector<const e4m3*> codes;   // or
  std::vector<const bf16*> weight;  // the other is empty
  Activations activations;
  WeightScales weight_scale;
  Buffer<float> input_scale;  // of each expert
};

struct Mlp {
  Mlp(Ops& ops, const MlpWeights& weights);

  Linear gate_proj, up_proj, down_proj;
};

struct Moe {
  Moe(Ops& ops, const MoeWeights& weights, std::int64_t hidden);

  Linear router;
  ExpertLinear gate_proj, up_proj, down_proj;
  Mlp shared_expert;
};

struct Cross {
  Cross(Ops& ops, const CrossWeights& weights, std::int64_t head_dim);

  const bf16 *q_norm, *k_norm, *attn_gate, *mlp_gate;
};

struct Layer {
  Layer(Ops& ops, const LlamaLayerWeights& weights, const LlamaConfig& config);

  LayerKind kind;
  const bf16 *input_layernorm, *post_attention_layernorm;
  Linear q_proj, k_proj, v_proj, o_proj;
  std::optional<Mlp> mlp;  // or
  std::optional<Moe> moe;
  std::optional<Cross> cross;
  Buffer<float> k_scale, v_scale;
};

}  // namespace fp8ref
