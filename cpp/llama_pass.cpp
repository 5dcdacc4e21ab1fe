// SPDX-License-Identifier: Apache-2.0
#include "llama_pass.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "fp8ref/cpu.h"
#include "fp8ref/errors.h"
#include "fp8ref/modes.h"

namespace fp8ref {

using Type = TraceValue::Type;

Setup::Setup(const LlamaConfig& numbers, Accumulate accumulator)
    : config(numbers),
      fp8(find_mode(accumulator) != nullptr ? find_mode(accumulator)->fp8 : accumulator),
      mode(find_mode(accumulator) != nullptr ? accumulator : Accumulate::exact),
      eps(static_cast<float>(numbers.rms_norm_eps)),
      log2e_scale(cpu::attention_log2e_scale(numbers.head_dim)) {}

void check_projections(const LlamaWeights& weights, const Setup& setup) {
  if (setup.fp8) return;
  for (std::size_t i = 0; i < weights.layers.size(); ++i) {
    const LlamaLayerWeights& layer = weights.layers[i];
    for (const Projection* projection : {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj,
                                         &layer.mlp.gate_proj, &layer.mlp.up_proj, &layer.mlp.down_proj}) {
      if (projection->weight != nullptr) continue;
      throw OpError("llama: accumulate has no FP8 matrix product, but layers." + std::to_string(i) +
                    " has FP8 projections");
    }
  }
}

namespace {

template <class T>
const T* keep(Ops& ops, const T* host, std::int64_t count) {
  if (host == nullptr) return nullptr;
  return static_cast<const T*>(ops.keep(host, static_cast<std::size_t>(count) * sizeof(T)));
}

Buffer<float> there(Ops& ops, const std::vector<float>& values) { return {ops, std::span<const float>(values)}; }

}  // namespace

Linear::Linear(Ops& ops, const Projection& from)
    : out(from.out),
      in(from.in),
      codes(keep(ops, from.codes, from.out * from.in)),
      weight(keep(ops, from.weight, from.out * from.in)),
      input_scale(from.input_scale),
      weight_scale_stride(from.weight_scale.size() > 1 ? 1 : 0),
      weight_scale(there(ops, from.weight_scale)),
      input_scale_there(there(ops, {from.input_scale.value_or(1.0f)})) {
  if (!from.bias.empty()) bias = there(ops, from.bias);
  if (weight == nullptr) return;
  facts.emplace(ops, out);
  ops.linear_row_facts(weight, out, in, facts->data());
}

Layer::Layer(Ops& ops, const LlamaLayerWeights& weights, std::int64_t hidden)
    : input_layernorm(keep(ops, weights.input_layernorm, hidden)),
      post_attention_layernorm(keep(ops, weights.post_attention_layernorm, hidden)),
      q_proj(ops, weights.q_proj),
      k_proj(ops, weights.k_proj),
      v_proj(ops, weights.v_proj),
      o_proj(ops, weights.o_proj),
      gate_proj(ops, weights.mlp.gate_proj),
      up_proj(ops, weights.mlp.up_proj),
      down_proj(ops, weights.mlp.down_proj) {}

RopeTable::RopeTable(Ops& ops, const LlamaConfig& config)
    : ops_(ops),
      limit_(config.max_position_embeddings),
      frequencies_(static_cast<std::size_t>(config.head_dim / 2)),
      cos_(ops, 0),
      sin_(ops, 0) {
  const RopeScaling* scaling = config.rope_scaling ? &*config.rope_scaling : nullptr;
  cpu::rope_frequencies(config.head_dim, config.rope_theta, scaling, frequencies_.data());
}

void RopeTable::extend(std::int64_t count) {
  if (count <= known_) return;
  const auto bytes = [this](std::int64_t tokens) { return static_cast<std::size_t>(tokens * half()) * sizeof(float); };
  if (count > capacity_) {
    const std::int64_t capacity = std::min(std::max(count, 2 * capacity_), limit_);
    Buffer<float> cos(ops_, capacity * half()), sin(ops_, capacity * half());
    ops_.copy(cos.data(), cos_.data(), bytes(known_));
    ops_.copy(sin.data(), sin_.data(), bytes(known_));
    cos_ = std::move(cos);
    sin_ = std::move(sin);
    capacity_ = capacity;
  }
  std::vector<std::int64_t> positions(static_cast<std::size_t>(count - known_));
  std::iota(positions.begin(), positions.end(), known_);
  std::vector<float> cos(positions.size() * frequencies_.size()), sin(cos.size());
  cpu::rope_table(positions.data(), count - known_, frequencies_.data(), half(), cos.data(), sin.data());
  ops_.upload(cos_.data() + known_ * half(), cos.data(), bytes(count - known_));
  ops_.upload(sin_.data() + known_ * half(), sin.data(), bytes(count - known_));
  known_ = count;
}

Scratch::Scratch(Ops& ops, const LlamaConfig& config, std::int64_t tokens)
    : rows(tokens),
      stream(ops, tokens * config.hidden_size),
      normed(ops, tokens * config.hidden_size),
      q(ops, tokens * config.num_attention_heads * config.head_dim),
      mixed(ops, tokens * config.num_attention_heads * config.head_dim),
      gate(ops, tokens * config.intermediate_size),
      up(ops, tokens * config.intermediate_size),
      projected(ops, tokens * config.hidden_size),
      codes(ops, tokens * std::max({config.hidden_size, config.intermediate_size,
                                    config.num_attention_heads * config.head_dim})),
      scales(ops, tokens) {}

/// The input of one or more projections. Its FP8 form is made once and shared by those that quantize it in the same
/// way.
struct Pass::Input {
  const bf16* values;
  std::int64_t cols;
  bool quantized = false;
  std::optional<float> scale = {};  // the static one that the codes were made with
  const float* scales = nullptr;    // of the codes

  bool has(const std::optional<float>& wanted) const { return quantized && scale == wanted; }
};

Pass::Pass(Ops& ops, const Setup& setup, const RopeTable& rope, KvCache& cache, Scratch& scratch, const Trace& trace,
           std::int64_t first, std::int64_t rows)
    : ops_(ops),
      setup_(setup),
      config_(setup.config),
      rope_(rope),
      cache_(cache),
      scratch_(scratch),
      trace_(trace),
      first_(first),
      rows_(rows) {}

std::string Pass::layer_name(std::int64_t index) const {
  return trace_ ? "layers." + std::to_string(index) + "." : std::string();
}

void Pass::record(const std::string& name, const bf16* data, std::int64_t cols) const {
  record(name, Type::bfloat16, data, rows_, cols);
}

void Pass::record(const std::string& name, Type type, const void* data, std::int64_t rows, std::int64_t cols) const {
  if (!trace_) return;
  const std::size_t size = type == Type::bfloat16 ? 2 : type == Type::uint8 ? 1 : 4;
  std::vector<std::byte> host(static_cast<std::size_t>(rows * cols) * size);
  ops_.download(host.data(), data, host.size());
  trace_({name, type, rows, cols, host.data()});
}

void Pass::embed(const bf16* table, std::span<const std::int64_t> tokens) {
  ops_.gather(table, tokens, config_.hidden_size, scratch_.stream.data());
  record("embed_tokens", scratch_.stream.data(), config_.hidden_size);
}

namespace {

constexpr const Rule& kStatic = *find_rule("vllm.per_tensor_static");
constexpr const Rule& kPerToken = *find_rule("vllm.per_token");

/// The rule of a projection's activations. [CKPT-ACTIVATIONS]
const Rule& activation_rule(const Linear& linear) { return linear.input_scale ? kStatic : kPerToken; }

}  // namespace

/// Where the scales of a projection's activations are: its own static one, or those made for each token.
float* Pass::scales_for(const Linear& linear) const {
  return linear.input_scale ? linear.input_scale_there.data() : scratch_.scales.data();
}

/// RMSNorm of the stream, and its codes where the projection that comes first wants them. [LLAMA-NORM]
Pass::Input Pass::normalise(const bf16* weight, const Linear& next, const std::string& name) {
  const RmsnormArgs args{scratch_.stream.data(), weight,     rows_,
                         config_.hidden_size,    setup_.eps, scratch_.normed.data()};
  Input input{args.out, config_.hidden_size};
  if (next.codes == nullptr) {
    ops_.rmsnorm(args);
  } else {
    ops_.rmsnorm_quantize(args, activation_rule(next), scratch_.codes.data(), scales_for(next));
    input = {args.out, config_.hidden_size, true, next.input_scale, scales_for(next)};
  }
  record(name, scratch_.normed.data(), config_.hidden_size);
  return input;
}

void Pass::quantize(Input& input, const Linear& linear) {
  if (input.has(linear.input_scale)) return;
  ops_.quantize(input.values, rows_, input.cols, activation_rule(linear), scratch_.codes.data(), scales_for(linear));
  input = {input.values, input.cols, true, linear.input_scale, scales_for(linear)};
}

/// [LLAMA-LINEAR]
void Pass::project(const std::string& name, const Linear& linear, Input& input, bf16* out) {
  const float* bias = linear.bias ? linear.bias->data() : nullptr;
  if (linear.weight != nullptr) {
    ops_.linear(
        {input.values, linear.weight, rows_, linear.out, linear.in, bias, linear.facts->data(), setup_.mode, out});
  } else {
    quantize(input, linear);
    const bool per_token = !input.scale.has_value();
    if (trace_) {
      record(name + ".input_codes", Type::uint8, scratch_.codes.data(), rows_, input.cols);
      record(name + ".input_scale", Type::float32, input.scales, per_token ? rows_ : 1, 1);
    }
    ops_.scaled_mm({.a = scratch_.codes.data(),
                    .b = linear.codes,
                    .m = rows_,
                    .n = linear.out,
                    .k = linear.in,
                    .a_scale = {input.scales, per_token ? 1 : 0},
                    .b_scale = {linear.weight_scale.data(), linear.weight_scale_stride},
                    .bias = bias,
                    .accumulate = setup_.fp8.value(),
                    .epilogue = Epilogue::a_b,
                    .out_dtype = OutDtype::bfloat16,
                    .out = out});
  }
  record(name, out, linear.out);
}

/// The attention half of a layer. k and v go straight to their places in the cache. [LLAMA-ATTENTION]
void Pass::attend(std::int64_t index, const Layer& layer) {
  const std::string prefix = layer_name(index);
  const std::int64_t heads = config_.num_attention_heads, kv_heads = config_.num_key_value_heads;
  const std::int64_t dim = config_.head_dim, half = rope_.half();
  bf16* q = scratch_.q.data();
  bf16* k = cache_.keys(index) + first_ * kv_heads * dim;
  bf16* v = cache_.values(index) + first_ * kv_heads * dim;
  Input input = normalise(layer.input_layernorm, layer.q_proj, prefix + "input_layernorm");
  project(prefix + "q_proj", layer.q_proj, input, q);
  project(prefix + "k_proj", layer.k_proj, input, k);
  project(prefix + "v_proj", layer.v_proj, input, v);
  ops_.rope(q, rows_, heads, half, rope_.cos(first_), rope_.sin(first_), q);
  record(prefix + "q_rope", q, heads * dim);
  ops_.rope(k, rows_, kv_heads, half, rope_.cos(first_), rope_.sin(first_), k);
  record(prefix + "k_rope", k, kv_heads * dim);
  ops_.attention({.q = q,
                  .k = cache_.keys(index),
                  .v = cache_.values(index),
                  .q_len = rows_,
                  .kv_len = first_ + rows_,
                  .q_heads = heads,
                  .kv_heads = kv_heads,
                  .head_dim = dim,
                  .log2e_scale = setup_.log2e_scale,
                  .mask = Mask::causal,
                  .out = scratch_.mixed.data(),
                  .accumulate = setup_.mode});
  record(prefix + "attention", scratch_.mixed.data(), heads * dim);
  Input mixed{scratch_.mixed.data(), heads * dim};
  project(prefix + "o_proj", layer.o_proj, mixed, scratch_.projected.data());
  add_to_stream(prefix + "attention_residual");
}

/// [LLAMA-MLP]
void Pass::mlp(std::int64_t index, const Layer& layer) {
  const std::string prefix = layer_name(index);
  const std::int64_t wide = config_.intermediate_size;
  bf16 *gate = scratch_.gate.data(), *up = scratch_.up.data();
  Input input = normalise(layer.post_attention_layernorm, layer.gate_proj, prefix + "post_attention_layernorm");
  project(prefix + "gate_proj", layer.gate_proj, input, gate);
  project(prefix + "up_proj", layer.up_proj, input, up);
  Input product{gate, wide};
  if (layer.down_proj.codes == nullptr) {
    ops_.silu_mul(gate, up, rows_ * wide, gate);
  } else {
    const Linear& next = layer.down_proj;
    ops_.silu_mul_quantize(gate, up, rows_, wide, activation_rule(next), gate, scratch_.codes.data(), scales_for(next));
    product = {gate, wide, true, next.input_scale, scales_for(next)};
  }
  record(prefix + "silu_mul", gate, wide);
  project(prefix + "down_proj", layer.down_proj, product, scratch_.projected.data());
  add_to_stream(prefix + "mlp_residual");
}

void Pass::add_to_stream(const std::string& name) {
  bf16* stream = scratch_.stream.data();
  ops_.residual(stream, scratch_.projected.data(), rows_ * config_.hidden_size, stream);
  record(name, stream, config_.hidden_size);
}

void Pass::norm(const bf16* weight, std::int64_t count) {
  const std::int64_t hidden = config_.hidden_size, from = trace_ ? 0 : rows_ - count;
  ops_.rmsnorm({scratch_.stream.data() + from * hidden, weight, rows_ - from, hidden, setup_.eps,
                scratch_.normed.data() + from * hidden});
  record("norm", scratch_.normed.data(), hidden);
}

void Pass::logits(const Linear& lm_head, std::int64_t first, std::int64_t rows, bf16* out) {
  ops_.linear({scratch_.normed.data() + first * config_.hidden_size, lm_head.weight, rows, lm_head.out, lm_head.in,
               nullptr, lm_head.facts->data(), setup_.mode, out});
}

}  // namespace fp8ref
