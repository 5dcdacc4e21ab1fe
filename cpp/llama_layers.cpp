// SPDX-License-Identifier: Apache-2.0
#include "llama_layers.h"

#include "fp8ref/rule_table.h"

namespace fp8ref {
namespace {

constexpr std::int64_t kBlock = 128;

std::int64_t blocks(std::int64_t extent) { return (extent + kBlock - 1) / kBlock; }

const Rule* activation_rule(const Projection& projection) {
  if (projection.codes == nullptr) return nullptr;
  if (projection.block_scales) return find_rule("vllm.group_128");
  return find_rule(projection.input_scale ? "vllm.per_tensor_static" : "vllm.per_token");
}

ScaleView view_of(const Projection& like, const float* data) {
  if (like.block_scales) return {data, blocks(like.in), 7};
  return {data, like.weight_scale.size() > 1 ? 1 : 0};
}

template <class T>
const T* keep(Ops& ops, const T* host, std::int64_t count) {
  if (host == nullptr) return nullptr;
  return static_cast<const T*>(ops.keep(host, static_cast<std::size_t>(count) * sizeof(T)));
}

Buffer<float> there(Ops& ops, const std::vector<float>& values) { return {ops, std::span<const float>(values)}; }

/// The activations of all experts: those of one, with the given scales of each.
Activations activations_of(const std::vector<MlpWeights>& experts, Projection MlpWeights::* member) {
  Activations out(experts.front().*member);
  if (out.given.empty()) return out;
  out.given.clear();
  for (const MlpWeights& expert : experts) out.given.push_back(*(expert.*member).input_scale);
  return out;
}

std::vector<float> weight_scales_of(const std::vector<MlpWeights>& experts, Projection MlpWeights::* member) {
  std::vector<float> out;
  for (const MlpWeights& expert : experts) {
    const std::vector<float>& scales = (expert.*member).weight_scale;
    out.insert(out.end(), scales.begin(), scales.end());
  }
  return out;
}

}  // namespace

Activations::Activations(const Projection& projection) : rule(activation_rule(projection)) {
  if (projection.input_scale) given = {*projection.input_scale};
}

std::int64_t Activations::scales_of_row(std::int64_t cols) const {
  return rule != nullptr && rule->granularity == Granularity::group ? blocks(cols) : 1;
}

WeightScales::WeightScales(Ops& ops, const Projection& like, const std::vector<float>& values)
    : data(there(ops, values)),
      scales(like.block_scales ? Scales::blocks : Scales::values),
      of_expert(static_cast<std::int64_t>(like.weight_scale.size())),
      view(view_of(like, data.data())) {}

Linear::Linear(Ops& ops, const Projection& from)
    : out(from.out),
      in(from.in),
      codes(keep(ops, from.codes, from.out * from.in)),
      weight(keep(ops, from.weight, from.out * from.in)),
      activations(from),
      weight_scale(ops, from, from.weight_scale),
      input_scale(there(ops, activations.given)) {
  if (!from.bias.empty()) bias = there(ops, from.bias);
  if (weight == nullptr) return;
  facts.emplace(ops, out);
  ops.linear_row_facts(weight, out, in, facts->data());
}

ExpertLinear::ExpertLinear(Ops& ops, const std::vector<MlpWeights>& experts, Projection MlpWeights::* member)
    : out((experts.front().*member).out),
      in((experts.front().*member).in),
      weight_stride((experts.front().*member).weight_stride),
      activations(activations_of(experts, member)),
      weight_scale(ops, experts.front().*member, weight_scales_of(experts, member)),
      input_scale(there(ops, activations.given)) {
  std::vector<const e4m3*> host_codes;
  std::vector<const bf16*> host_weight;
  for (const MlpWeights& expert : experts) {
    host_codes.push_back((expert.*member).codes);
    host_weight.push_back((expert.*member).weight);
  }
  if (activations.rule != nullptr) {
    codes = ops.keep_experts(host_codes, out, in);
  } else {
    weight = ops.keep_experts(host_weight, out, in, weight_stride);
  }
}

Mlp::Mlp(Ops& ops, const MlpWeights& weights)
    : gate_proj(ops, weights.gate_proj), up_proj(ops, weights.up_proj), down_proj(ops, weights.down_proj) {}

Moe::Moe(Ops& ops, const MoeWeights& weights, std::int64_t hidden)
    : router(ops, {.out = static_cast<std::int64_t>(weights.experts.size()), .in = hidden, .weight = weights.router}),
      gate_proj(ops, weights.experts, &MlpWeights::gate_proj),
      up_proj(ops, weights.experts, &MlpWeights::up_proj),
      down_proj(ops, weights.experts, &MlpWeights::down_proj),
      shared_expert(ops, weights.shared_expert) {}

Cross::Cross(Ops& ops, const CrossWeights& weights, std::int64_t head_dim)
    : q_norm(keep(ops, weights.q_norm, head_dim)),
      k_norm(keep(ops, weights.k_norm, head_dim)),
      attn_gate(keep(ops, weights.attn_gate, 1)),
      mlp_gate(keep(ops, weights.mlp_gate, 1)) {}

Layer::Layer(Ops& ops, const LlamaLayerWeights& weights, const LlamaConfig& config)
    : kind(weights.kind),
      input_layernorm(keep(ops, weights.input_layernorm, config.hidden_size)),
      post_attention_layernorm(keep(ops, weights.post_attention_layernorm, config.hidden_size)),
      q_proj(ops, weights.q_proj),
      k_proj(ops, weights.k_proj),
      v_proj(ops, weights.v_proj),
      o_proj(ops, weights.o_proj),
      k_scale(there(ops, {weights.k_scale})),
      v_scale(there(ops, {weights.v_scale})) {
  if (weights.moe) {
    moe.emplace(ops, *weights.moe, config.hidden_size);
  } else {
    mlp.emplace(ops, weights.mlp);
  }
  if (weights.cross) cross.emplace(ops, *weights.cross, config.head_dim);
}

}  // namespace fp8ref
