// SPDX-License-Identifier: Apache-2.0
#include "llama_pass.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "fp8ref/round.h"
#include "parallel.h"

namespace fp8ref::cpu {

using Type = TraceValue::Type;

Setup::Setup(const LlamaConfig& numbers, Accumulate accumulator)
    : config(numbers),
      accumulate(accumulator),
      eps(static_cast<float>(numbers.rms_norm_eps)),
      log2e_scale(attention_log2e_scale(numbers.head_dim)) {}

Linear::Linear(Projection projection) : weights(std::move(projection)) {
  if (weights.weight == nullptr) return;
  facts.resize(static_cast<std::size_t>(weights.out));
  linear_row_facts(weights.weight, weights.out, weights.in, facts.data());
}

Layer::Layer(LlamaLayerWeights weights)
    : input_layernorm(weights.input_layernorm),
      post_attention_layernorm(weights.post_attention_layernorm),
      q_proj(std::move(weights.q_proj)),
      k_proj(std::move(weights.k_proj)),
      v_proj(std::move(weights.v_proj)),
      o_proj(std::move(weights.o_proj)),
      gate_proj(std::move(weights.gate_proj)),
      up_proj(std::move(weights.up_proj)),
      down_proj(std::move(weights.down_proj)) {}

RopeTable::RopeTable(const LlamaConfig& config) : frequencies_(static_cast<std::size_t>(config.head_dim / 2)) {
  const RopeScaling* scaling = config.rope_scaling ? &*config.rope_scaling : nullptr;
  rope_frequencies(config.head_dim, config.rope_theta, scaling, frequencies_.data());
}

void RopeTable::extend(std::int64_t count) {
  const std::int64_t known = static_cast<std::int64_t>(cos_.size()) / half();
  if (count <= known) return;
  std::vector<std::int64_t> positions(static_cast<std::size_t>(count - known));
  std::iota(positions.begin(), positions.end(), known);
  std::vector<float> cos(positions.size() * frequencies_.size()), sin(cos.size());
  rope_table(positions.data(), count - known, frequencies_.data(), half(), cos.data(), sin.data());
  sin_.reserve(sin_.size() + sin.size());  // after this and the next line nothing throws
  cos_.insert(cos_.end(), cos.begin(), cos.end());
  sin_.insert(sin_.end(), sin.begin(), sin.end());
}

void Scratch::reserve(const LlamaConfig& config, std::int64_t rows) {
  if (rows <= rows_) return;
  const std::int64_t heads = config.num_attention_heads * config.head_dim;
  const std::int64_t widest = std::max({config.hidden_size, config.intermediate_size, heads});
  auto grow = [rows](auto& values, std::int64_t cols) { values.resize(static_cast<std::size_t>(rows * cols)); };
  for (auto* values : {&stream, &normed, &projected}) grow(*values, config.hidden_size);
  for (auto* values : {&q, &mixed}) grow(*values, heads);
  for (auto* values : {&gate, &up}) grow(*values, config.intermediate_size);
  grow(codes, widest);
  grow(scales, 1);
  rows_ = rows;
}

/// The input of one or more projections. Its FP8 form is made when the first of them asks for it, and shared by those
/// that quantize it in the same way.
struct Pass::Input {
  const bf16* values;
  std::int64_t cols;
  bool quantized = false;
  std::optional<float> scale;  // the static one that the codes were made with

  bool has(const std::optional<float>& wanted) const { return quantized && scale == wanted; }
};

Pass::Pass(const Setup& setup, const RopeTable& rope, KvCache& cache, Scratch& scratch, const Trace& trace,
           std::int64_t first, std::int64_t rows)
    : setup_(setup),
      config_(setup.config),
      rope_(rope),
      cache_(cache),
      scratch_(scratch),
      trace_(trace),
      first_(first),
      rows_(rows) {
  scratch_.reserve(config_, rows_);
}

std::string Pass::layer_name(std::int64_t index) const {
  return trace_ ? "layers." + std::to_string(index) + "." : std::string();
}

void Pass::record(const std::string& name, const bf16* data, std::int64_t cols) const {
  record(name, Type::bfloat16, data, rows_, cols);
}

void Pass::record(const std::string& name, Type type, const void* data, std::int64_t rows, std::int64_t cols) const {
  if (trace_) trace_({name, type, rows, cols, data});
}

void Pass::embed(const bf16* table, std::span<const std::int64_t> tokens) {
  bf16* out = scratch_.stream.data();
  for (const std::int64_t token : tokens) {
    out = std::copy_n(table + token * config_.hidden_size, config_.hidden_size, out);
  }
  record("embed_tokens", scratch_.stream.data(), config_.hidden_size);
}

/// RMSNorm of the stream's rows `from` and on. [LLAMA-NORM]
void Pass::normalise(const bf16* weight, std::int64_t from, const std::string& name) {
  const std::int64_t hidden = config_.hidden_size, offset = from * hidden;
  rmsnorm(scratch_.stream.data() + offset, weight, rows_ - from, hidden, setup_.eps, scratch_.normed.data() + offset);
  record(name, scratch_.normed.data(), hidden);
}

void Pass::quantize(Input& input, const Projection& projection) {
  if (input.has(projection.input_scale)) return;
  input.quantized = true;
  input.scale = projection.input_scale;
  static constexpr const Rule& kStatic = *find_rule("vllm.per_tensor_static");
  static constexpr const Rule& kPerToken = *find_rule("vllm.per_token");
  const Rule& rule = input.scale ? kStatic : kPerToken;
  if (input.scale) scratch_.scales[0] = *input.scale;
  cpu::quantize(input.values, rows_, input.cols, rule, scratch_.codes.data(), scratch_.scales.data());
}

/// [LLAMA-LINEAR]
void Pass::project(const std::string& name, const Linear& linear, Input& input, bf16* out) {
  const Projection& weights = linear.weights;
  const float* bias = weights.bias.empty() ? nullptr : weights.bias.data();
  if (weights.weight != nullptr) {
    cpu::linear(input.values, weights.weight, rows_, weights.out, weights.in, bias, linear.facts.data(), out);
  } else {
    quantize(input, weights);
    const bool per_token = !input.scale.has_value();
    if (trace_) {
      record(name + ".input_codes", Type::uint8, scratch_.codes.data(), rows_, input.cols);
      record(name + ".input_scale", Type::float32, scratch_.scales.data(), per_token ? rows_ : 1, 1);
    }
    const std::int64_t weight_stride = weights.weight_scale.size() > 1 ? 1 : 0;
    scaled_mm({.a = scratch_.codes.data(),
               .b = weights.codes,
               .m = rows_,
               .n = weights.out,
               .k = weights.in,
               .a_scale = {scratch_.scales.data(), per_token ? 1 : 0},
               .b_scale = {weights.weight_scale.data(), weight_stride},
               .bias = bias,
               .accumulate = setup_.accumulate,
               .epilogue = Epilogue::a_b,
               .out_dtype = OutDtype::bfloat16,
               .out = out});
  }
  record(name, out, weights.out);
}

/// The attention half of a layer. k and v go straight to their places in the cache. [LLAMA-ATTENTION]
void Pass::attend(std::int64_t index, const Layer& layer) {
  const std::string prefix = layer_name(index);
  const std::int64_t heads = config_.num_attention_heads, kv_heads = config_.num_key_value_heads;
  const std::int64_t dim = config_.head_dim, half = rope_.half();
  bf16* q = scratch_.q.data();
  bf16* k = cache_.keys(index) + first_ * kv_heads * dim;
  bf16* v = cache_.values(index) + first_ * kv_heads * dim;
  normalise(layer.input_layernorm, 0, prefix + "input_layernorm");
  Input input{scratch_.normed.data(), config_.hidden_size, false, {}};
  project(prefix + "q_proj", layer.q_proj, input, q);
  project(prefix + "k_proj", layer.k_proj, input, k);
  project(prefix + "v_proj", layer.v_proj, input, v);
  rope(q, rows_, heads, half, rope_.cos(first_), rope_.sin(first_), q);
  record(prefix + "q_rope", q, heads * dim);
  rope(k, rows_, kv_heads, half, rope_.cos(first_), rope_.sin(first_), k);
  record(prefix + "k_rope", k, kv_heads * dim);
  attention({.q = q,
             .k = cache_.keys(index),
             .v = cache_.values(index),
             .q_len = rows_,
             .kv_len = first_ + rows_,
             .q_heads = heads,
             .kv_heads = kv_heads,
             .head_dim = dim,
             .log2e_scale = setup_.log2e_scale,
             .mask = Mask::causal,
             .out = scratch_.mixed.data()});
  record(prefix + "attention", scratch_.mixed.data(), heads * dim);
  Input mixed{scratch_.mixed.data(), heads * dim, false, {}};
  project(prefix + "o_proj", layer.o_proj, mixed, scratch_.projected.data());
  add_to_stream(prefix + "attention_residual");
}

/// [LLAMA-MLP]
void Pass::mlp(std::int64_t index, const Layer& layer) {
  const std::string prefix = layer_name(index);
  const std::int64_t wide = config_.intermediate_size;
  bf16 *gate = scratch_.gate.data(), *up = scratch_.up.data();
  normalise(layer.post_attention_layernorm, 0, prefix + "post_attention_layernorm");
  Input input{scratch_.normed.data(), config_.hidden_size, false, {}};
  project(prefix + "gate_proj", layer.gate_proj, input, gate);
  project(prefix + "up_proj", layer.up_proj, input, up);
  silu_mul(gate, up, static_cast<std::size_t>(rows_ * wide), gate);
  record(prefix + "silu_mul", gate, wide);
  Input product{gate, wide, false, {}};
  project(prefix + "down_proj", layer.down_proj, product, scratch_.projected.data());
  add_to_stream(prefix + "mlp_residual");
}

void Pass::add_to_stream(const std::string& name) {
  bf16* stream = scratch_.stream.data();
  residual(stream, scratch_.projected.data(), static_cast<std::size_t>(rows_ * config_.hidden_size), stream);
  record(name, stream, config_.hidden_size);
}

void Pass::head(const bf16* norm, const bf16* lm_head, const RowFacts* facts, std::int64_t count, float* logits,
                const Poll& poll) {
  constexpr std::int64_t kRows = 64;  // at a time, to bound the memory of bf16 logits
  const std::int64_t hidden = config_.hidden_size, vocab = config_.vocab_size;
  normalise(norm, trace_ ? 0 : rows_ - count, "norm");
  std::vector<bf16> narrow(static_cast<std::size_t>(std::min(count, kRows) * vocab));
  for (std::int64_t done = 0; done < count; done += kRows) {
    if (poll) poll();
    const std::int64_t rows = std::min(kRows, count - done);
    const bf16* x = scratch_.normed.data() + (rows_ - count + done) * hidden;
    linear(x, lm_head, rows, vocab, hidden, nullptr, facts, narrow.data());
    float* out = logits + done * vocab;
    parallel_for(rows * vocab, 1 << 14, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = widen(narrow[static_cast<std::size_t>(i)]);
    });
  }
  if (count > 0) record("logits", Type::float32, logits, count, vocab);
}

}  // namespace fp8ref::cpu
