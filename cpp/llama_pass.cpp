// SPDX-License-Identifier: Apache-2.0
// What all layers of a pass share: norms, projections, the residual stream and the trace.
#include "llama_pass.h"

#include <algorithm>

#include "fp8ref/cpu.h"
#include "fp8ref/errors.h"
#include "fp8ref/modes.h"

namespace fp8ref {

Setup::Setup(const LlamaConfig& numbers, Accumulate accumulator)
    : config(numbers),
      fp8(find_mode(accumulator) != nullptr ? find_mode(accumulator)->fp8 : accumulator),
      mode(find_mode(accumulator) != nullptr ? accumulator : Accumulate::exact),
      eps(static_cast<float>(numbers.rms_norm_eps)),
      log2e_scale(cpu::attention_log2e_scale(numbers.head_dim)) {}

namespace {

bool has_fp8(const MlpWeights& mlp) {
  return mlp.gate_proj.codes != nullptr || mlp.up_proj.codes != nullptr || mlp.down_proj.codes != nullptr;
}

bool has_fp8(const LlamaLayerWeights& layer) {
  for (const Projection* projection : {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj}) {
    if (projection->codes != nullptr) return true;
  }
  if (!layer.moe) return has_fp8(layer.mlp);
  return has_fp8(layer.moe->shared_expert) || has_fp8(layer.moe->experts.front());  // experts are alike
}

/// The width of an expert, and how many of them a token goes through; 0 without.
std::int64_t expert_size(const LlamaConfig& config) { return config.moe ? config.moe->intermediate_size : 0; }
std::int64_t choices(const LlamaConfig& config) { return config.moe ? config.moe->num_experts_per_tok : 0; }

/// Most numbers between gate, up and down: of a dense layer, the shared expert, or the routed ones.
std::int64_t gated_numbers(const LlamaConfig& config, std::int64_t tokens) {
  const std::int64_t expert = std::max<std::int64_t>(1, choices(config)) * expert_size(config);
  return tokens * std::max(config.intermediate_size, expert);
}

/// Most numbers that go into a projection.
std::int64_t input_numbers(const LlamaConfig& config, std::int64_t tokens) {
  const std::int64_t narrow = std::max(config.hidden_size, config.num_attention_heads * config.head_dim);
  const std::int64_t routed = choices(config) * config.hidden_size;
  return std::max(tokens * std::max(narrow, routed), gated_numbers(config, tokens));
}

}  // namespace

void check_projections(const LlamaWeights& weights, const Setup& setup) {
  if (setup.fp8) return;
  for (std::size_t i = 0; i < weights.layers.size(); ++i) {
    if (!has_fp8(weights.layers[i])) continue;
    throw OpError("llama: accumulate has no FP8 matrix product, but layers." + std::to_string(i) +
                  " has FP8 projections");
  }
}

Codes::Codes(Ops& ops, std::int64_t rows, std::int64_t numbers)
    : codes(ops, numbers), scales(ops, rows + numbers / 128) {}  // at most ceil(cols / 128) for each row

MoeScratch::MoeScratch(Ops& ops, const LlamaConfig& config, std::int64_t tokens)
    : logits(ops, config.moe ? tokens * config.moe->num_local_experts : 0),
      scores(ops, tokens * choices(config)),
      inputs(ops, tokens * choices(config) * config.hidden_size),
      ids(ops, tokens * choices(config)),
      order(ops, tokens * choices(config)),
      offsets(ops, config.moe ? config.moe->num_local_experts + 1 : 0) {}

Scratch::Scratch(Ops& ops, const LlamaConfig& config, std::int64_t count)
    : tokens(count),
      stream(ops, count * config.hidden_size),
      normed(ops, count * config.hidden_size),
      q(ops, count * config.num_attention_heads * config.head_dim),
      mixed(ops, count * config.num_attention_heads * config.head_dim),
      gate(ops, gated_numbers(config, count)),
      up(ops, gated_numbers(config, count)),
      projected(ops, count * config.hidden_size),
      codes(ops, count * std::max<std::int64_t>(1, choices(config)), input_numbers(config, count)),
      moe(ops, config, count) {}

Vision::Vision(Ops& ops, const LlamaConfig& config, const VisionStates& host)
    : rows(host.rows),
      states(ops, std::span<const bf16>(host.data, static_cast<std::size_t>(rows * config.hidden_size))),
      codes(ops, rows, rows * config.hidden_size) {}

Pass::Pass(const Workplace& at, std::int64_t first, std::int64_t tokens)
    : ops_(at.ops),
      setup_(at.setup),
      config_(at.setup.config),
      tables_(at.tables),
      cache_(at.cache),
      scratch_(at.scratch),
      trace_(at.trace),
      image_(at.image),
      vision_(at.vision),
      first_(first),
      tokens_(tokens) {}

std::string Pass::layer_name(std::int64_t index) const {
  return trace_ ? "layers." + std::to_string(index) + "." : std::string();
}

std::vector<std::byte> Pass::downloaded(Type type, const void* data, std::int64_t count) const {
  std::vector<std::byte> host(static_cast<std::size_t>(count) * TraceValue::size_of(type));
  ops_.download(host.data(), data, host.size());
  return host;
}

void Pass::record(const std::string& name, const bf16* data, std::int64_t cols) const {
  record(name, Type::bfloat16, data, tokens_, cols);
}

void Pass::record(const std::string& name, Type type, const void* data, std::int64_t rows, std::int64_t cols) const {
  if (!trace_) return;
  const std::vector<std::byte> host = downloaded(type, data, rows * cols);
  trace_({name, type, rows, cols, host.data()});
}

void Pass::embed(const bf16* table, std::span<const std::int64_t> tokens) {
  ops_.gather(table, tokens, config_.hidden_size, scratch_.stream.data());
  record("embed_tokens", scratch_.stream.data(), config_.hidden_size);
}

/// Where the scales of an input are: the projection's own static one, or those made for its rows.
float* Pass::scales_of(const Linear& linear, const Codes& room) {
  return linear.activations.given.empty() ? room.scales.data() : linear.input_scale.data();
}

/// RMSNorm of the stream, and its codes where the projection that comes first wants them. [LLAMA-NORM]
Pass::Input Pass::normalise(const bf16* weight, const Linear& next, const std::string& name) {
  const RmsnormArgs args{scratch_.stream.data(), weight,     tokens_,
                         config_.hidden_size,    setup_.eps, scratch_.normed.data()};
  Input input{args.out, tokens_, config_.hidden_size, &scratch_.codes};
  if (next.codes == nullptr) {
    ops_.rmsnorm(args);
  } else {
    ops_.rmsnorm_quantize(args, *next.activations.rule, scratch_.codes.codes.data(), scales_of(next, scratch_.codes));
    input.form = &next.activations;
  }
  record(name, scratch_.normed.data(), config_.hidden_size);
  return input;
}

/// The FP8 product of an input whose codes are made; where its scales are, and the bias, is still to be said.
/// [LLAMA-LINEAR]
ScaledMmArgs Pass::product(const Input& input, const WeightScales& scales, std::int64_t out) const {
  ScaledMmArgs args{};
  args.a = input.room->codes.data();
  args.m = input.rows;
  args.n = out;
  args.k = input.cols;
  args.a_scale = {input.room->scales.data(), input.form->scales_of_row(input.cols)};
  args.b_scale = scales.view;
  args.accumulate = setup_.fp8.value();
  const bool in_order = scales.scales == Scales::blocks && args.accumulate != Accumulate::exact;
  args.epilogue = in_order ? Epilogue::deepgemm : Epilogue::a_b;
  args.out_dtype = OutDtype::bfloat16;
  args.scales = scales.scales;
  return args;
}

/// [LLAMA-LINEAR]
void Pass::project(const std::string& name, const Linear& linear, Input& input, bf16* out) {
  const float* bias = linear.bias ? linear.bias->data() : nullptr;
  if (linear.weight != nullptr) {
    ops_.linear(
        {input.values, linear.weight, input.rows, linear.out, linear.in, bias, linear.facts->data(), setup_.mode, out});
  } else {
    const Activations& activations = linear.activations;
    float* scales = scales_of(linear, *input.room);
    if (!input.has(activations)) {
      ops_.quantize(input.values, input.rows, input.cols, *activations.rule, input.room->codes.data(), scales);
      input.form = &activations;
    }
    const bool of_rows = activations.given.empty();
    if (trace_) {
      record(name + ".input_codes", Type::uint8, input.room->codes.data(), input.rows, input.cols);
      record(name + ".input_scale", Type::float32, scales, of_rows ? input.rows : 1,
             activations.scales_of_row(input.cols));
    }
    ScaledMmArgs args = product(input, linear.weight_scale, linear.out);
    if (!of_rows) args.a_scale = {scales, 0};
    args.b = linear.codes;
    args.bias = bias;
    args.out = out;
    ops_.scaled_mm(args);
  }
  record(name, Type::bfloat16, out, input.rows, linear.out);
}

/// gate: of a layer of cross-attention, else nullptr. [LLAMA-FORWARD], [LLAMA-CROSS]
void Pass::add_to_stream(const std::string& name, const bf16* gate) {
  bf16* stream = scratch_.stream.data();
  const std::int64_t count = tokens_ * config_.hidden_size;
  if (gate == nullptr) {
    ops_.residual(stream, scratch_.projected.data(), count, stream);
  } else {
    ops_.gated_residual(stream, scratch_.projected.data(), gate, count, stream);
  }
  record(name, stream, config_.hidden_size);
}

void Pass::norm(const bf16* weight, std::int64_t count) {
  const std::int64_t hidden = config_.hidden_size, from = trace_ ? 0 : tokens_ - count;
  ops_.rmsnorm({scratch_.stream.data() + from * hidden, weight, tokens_ - from, hidden, setup_.eps,
                scratch_.normed.data() + from * hidden});
  record("norm", scratch_.normed.data(), hidden);
}

void Pass::logits(const Linear& lm_head, std::int64_t first, std::int64_t rows, bf16* out) {
  ops_.linear({scratch_.normed.data() + first * config_.hidden_size, lm_head.weight, rows, lm_head.out, lm_head.in,
               nullptr, lm_head.facts->data(), setup_.mode, out});
}

}  // namespace fp8ref
