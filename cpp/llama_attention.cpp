// SPDX-License-Identifier: Apache-2.0
// The attention half of a layer. [LLAMA-ATTENTION], [LLAMA-KV], [LLAMA-CROSS]
#include "fp8ref/rule_table.h"
#include "llama_pass.h"

namespace fp8ref {

void Pass::attend(std::int64_t index, const Layer& layer) {
  const std::string prefix = layer_name(index);
  const std::int64_t columns = config_.num_attention_heads * config_.head_dim;
  Input input = normalise(layer.input_layernorm, layer.q_proj, prefix + "input_layernorm");
  project(prefix + "q_proj", layer.q_proj, input, scratch_.q.data());
  if (layer.cross) {
    see_image(index, layer, prefix);
  } else {
    see_tokens(index, layer, prefix, input);
  }
  record(prefix + "attention", scratch_.mixed.data(), columns);
  Input mixed{scratch_.mixed.data(), tokens_, columns, &scratch_.codes};
  project(prefix + "o_proj", layer.o_proj, mixed, scratch_.projected.data());
  add_to_stream(prefix + "attention_residual", layer.cross ? layer.cross->attn_gate : nullptr);
}

/// Self-attention. k and v go straight to their places behind those of earlier tokens.
void Pass::see_tokens(std::int64_t index, const Layer& layer, const std::string& prefix, Input& input) {
  const LayerKind& kind = layer.kind;
  const std::int64_t heads = config_.num_attention_heads, kv_heads = config_.num_key_value_heads;
  const std::int64_t dim = config_.head_dim, width = kv_heads * dim;
  bf16 *q = scratch_.q.data(), *keys = cache_.keys(index), *values = cache_.values(index);
  bf16* k = keys + first_ * width;
  project(prefix + "k_proj", layer.k_proj, input, k);
  project(prefix + "v_proj", layer.v_proj, input, values + first_ * width);
  if (kind.rope) {
    const std::int64_t half = tables_.half();
    ops_.rope({q, tokens_, heads, half, tables_.cos(first_), tables_.sin(first_), *kind.rope, q});
    record(prefix + "q_rope", q, heads * dim);
    ops_.rope({k, tokens_, kv_heads, half, tables_.cos(first_), tables_.sin(first_), *kind.rope, k});
    record(prefix + "k_rope", k, width);
  }
  if (kind.qk_norm) {
    norm_heads(prefix + "q_norm", q, tokens_, heads, nullptr);
    norm_heads(prefix + "k_norm", k, tokens_, kv_heads, nullptr);
  }
  if (kind.temperature) {
    ops_.temperature(q, tokens_, heads * dim, tables_.factors(first_), q);
    record(prefix + "q_temperature", q, heads * dim);
  }
  if (cache_.coded()) {
    through_codes(prefix + "k_codes", keys, cache_.key_codes(index), layer.k_scale);
    through_codes(prefix + "v_codes", values, cache_.value_codes(index), layer.v_scale);
  }
  mix(keys, values, first_ + tokens_, kind.chunk == 0 ? Mask::causal : Mask::chunked, kind.chunk);
}

/// Keys or values of all tokens: the new ones, which lie behind the others' places, become codes, and all codes
/// numbers. [LLAMA-KV]
void Pass::through_codes(const std::string& name, bf16* values, e4m3* codes, const Buffer<float>& scale) {
  constexpr const Rule& kRule = *find_rule("vllm.kv_cache");
  const std::int64_t width = config_.num_key_value_heads * config_.head_dim, length = first_ + tokens_;
  e4m3* added = codes + first_ * width;
  ops_.quantize(values + first_ * width, tokens_, width, kRule, added, scale.data());
  record(name, Type::uint8, added, tokens_, width);
  ops_.dequantize(codes, length, width, {scale.data(), length, width}, values);
}

/// Cross-attention. Keys and values are made in the forward that the vision states come with. [LLAMA-CROSS]
void Pass::see_image(std::int64_t index, const Layer& layer, const std::string& prefix) {
  const std::int64_t kv_heads = config_.num_key_value_heads;
  bf16 *k = image_->keys(index), *v = image_->values(index);
  if (vision_ != nullptr) {
    Input states{vision_->states.data(), vision_->rows, config_.hidden_size, &vision_->codes};
    project(prefix + "k_proj", layer.k_proj, states, k);
    project(prefix + "v_proj", layer.v_proj, states, v);
  }
  norm_heads(prefix + "q_norm", scratch_.q.data(), tokens_, config_.num_attention_heads, layer.cross->q_norm);
  if (vision_ != nullptr) norm_heads(prefix + "k_norm", k, vision_->rows, kv_heads, layer.cross->k_norm);
  mix(k, v, image_->rows(), Mask::full, 0);
}

void Pass::norm_heads(const std::string& name, bf16* x, std::int64_t rows, std::int64_t heads, const bf16* weight) {
  ops_.rmsnorm({x, weight, rows * heads, config_.head_dim, setup_.eps, x});
  record(name, Type::bfloat16, x, rows, heads * config_.head_dim);
}

/// Attention of q over `length` keys and values.
void Pass::mix(const bf16* k, const bf16* v, std::int64_t length, Mask mask, std::int64_t chunk) {
  ops_.attention({.q = scratch_.q.data(),
                  .k = k,
                  .v = v,
                  .q_len = tokens_,
                  .kv_len = length,
                  .q_heads = config_.num_attention_heads,
                  .kv_heads = config_.num_key_value_heads,
                  .head_dim = config_.head_dim,
                  .log2e_scale = setup_.log2e_scale,
                  .mask = mask,
                  .out = scratch_.mixed.data(),
                  .accumulate = setup_.mode,
                  .chunk = chunk});
}

}  // namespace fp8ref
