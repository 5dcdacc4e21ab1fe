// SPDX-License-Identifier: Apache-2.0
// The MLP half of a layer: one MLP for all tokens, or a mixture of experts. [LLAMA-MLP], [LLAMA-MOE]
#include <algorithm>

#include "llama_pass.h"

namespace fp8ref {

void Pass::feed_forward(std::int64_t index, const Layer& layer) {
  const std::string prefix = layer_name(index);
  const Linear& next = layer.moe ? layer.moe->shared_expert.gate_proj : layer.mlp->gate_proj;
  Input input = normalise(layer.post_attention_layernorm, next, prefix + "post_attention_layernorm");
  if (layer.moe) {
    moe(prefix, *layer.moe, input);
  } else {
    mlp(prefix, *layer.mlp, input);
  }
  add_to_stream(prefix + "mlp_residual", layer.cross ? layer.cross->mlp_gate : nullptr);
}

/// Into scratch_.projected.
void Pass::mlp(const std::string& prefix, const Mlp& mlp, Input& input) {
  project(prefix + "gate_proj", mlp.gate_proj, input, scratch_.gate.data());
  project(prefix + "up_proj", mlp.up_proj, input, scratch_.up.data());
  const Linear& next = mlp.down_proj;
  Input product = multiply(input.rows, next.in, next.activations, scales_of(next, scratch_.codes));
  record(prefix + "silu_mul", scratch_.gate.data(), next.in);
  project(prefix + "down_proj", next, product, scratch_.projected.data());
}

/// silu_mul of gate and up, in gate's place, and its codes with their scales, but where scales is nullptr.
Pass::Input Pass::multiply(std::int64_t rows, std::int64_t cols, const Activations& next, float* scales) {
  bf16 *gate = scratch_.gate.data(), *up = scratch_.up.data();
  Input product{gate, rows, cols, &scratch_.codes};
  if (next.rule == nullptr || scales == nullptr) {
    ops_.silu_mul(gate, up, rows * cols, gate);
  } else {
    ops_.silu_mul_quantize(gate, up, rows, cols, *next.rule, gate, scratch_.codes.codes.data(), scales);
    product.form = &next;
  }
  return product;
}

/// Into scratch_.projected.
void Pass::moe(const std::string& prefix, const Moe& moe, Input& input) {
  const MoeScratch& room = scratch_.moe;
  const std::int64_t experts = moe.router.out, top_k = config_.moe->num_experts_per_tok, hidden = config_.hidden_size;
  bf16 *logits = room.logits.data(), *scores = room.scores.data(), *inputs = room.inputs.data();
  std::int64_t *ids = room.ids.data(), *order = room.order.data(), *offsets = room.offsets.data();
  project(prefix + "router", moe.router, input, logits);
  ops_.route({logits, tokens_, experts, top_k, ids, scores});
  record(prefix + "experts", Type::int64, ids, tokens_, top_k);
  record(prefix + "scores", scores, top_k);
  mlp(prefix + "shared_expert.", moe.shared_expert, input);

  ops_.dispatch({input.values, ids, scores, tokens_, top_k, hidden, experts, inputs, order, offsets});
  const std::string names = prefix + "experts.";
  record_experts(names + "inputs", Type::bfloat16, inputs, hidden);
  Input routed{inputs, tokens_ * top_k, hidden, &scratch_.codes};
  project_experts(names + "gate_proj", moe.gate_proj, routed, scratch_.gate.data());
  project_experts(names + "up_proj", moe.up_proj, routed, scratch_.up.data());
  const ExpertLinear& next = moe.down_proj;
  const bool of_rows = next.activations.given.empty();
  Input product = multiply(routed.rows, next.in, next.activations, of_rows ? scratch_.codes.scales.data() : nullptr);
  record_experts(names + "silu_mul", Type::bfloat16, product.values, next.in);
  project_experts(names + "down_proj", next, product, inputs);  // nobody needs the inputs any more

  bf16* shared = scratch_.projected.data();
  ops_.combine({inputs, order, shared, tokens_, top_k, hidden, shared});
  record(prefix + "combine", shared, hidden);
}

/// The projection of each row by its own expert. [GROUPED-ROWS]
void Pass::project_experts(const std::string& name, const ExpertLinear& linear, Input& input, bf16* out) {
  const std::int64_t experts = config_.moe->num_local_experts;
  const Groups groups{input.rows, experts, scratch_.moe.offsets.data()};
  if (linear.codes.empty()) {
    ops_.grouped_linear({.x = input.values,
                         .groups = groups,
                         .w = linear.weight,
                         .w_stride = linear.weight_stride,
                         .n = linear.out,
                         .k = linear.in,
                         .accumulate = setup_.mode,
                         .out = out});
    return record_experts(name, Type::bfloat16, out, linear.out);
  }
  const Activations& activations = linear.activations;
  e4m3* codes = input.room->codes.data();
  float* scales = input.room->scales.data();
  if (!input.has(activations)) {
    if (activations.given.empty()) {
      ops_.quantize(input.values, input.rows, input.cols, *activations.rule, codes, scales);
    } else {
      ops_.quantize_experts(input.values, groups, input.cols, *activations.rule, linear.input_scale.data(), codes,
                            scales);
    }
    input.form = &activations;
  }
  if (trace_) {
    record_experts(name + ".input_codes", Type::uint8, codes, input.cols);
    record_experts(name + ".input_scale", Type::float32, scales, activations.scales_of_row(input.cols));
  }
  GroupedMmArgs args{product(input, linear.weight_scale, linear.out), experts, groups.offsets,
                     linear.weight_scale.of_expert};
  args.all.out = out;
  ops_.grouped_mm(args, linear.codes);
  record_experts(name, Type::bfloat16, out, linear.out);
}

/// Rows by expert, shown as a row for each token with its choices side by side. [LLAMA-TRACE]
void Pass::record_experts(const std::string& name, Type type, const void* data, std::int64_t cols) const {
  if (!trace_) return;
  const std::int64_t top_k = config_.moe->num_experts_per_tok, rows = tokens_ * top_k;
  std::vector<std::int64_t> order(static_cast<std::size_t>(rows));
  ops_.download(order.data(), scratch_.moe.order.data(), order.size() * sizeof(std::int64_t));
  const std::vector<std::byte> sorted = downloaded(type, data, rows * cols);
  std::vector<std::byte> shown(sorted.size());
  const auto bytes = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(cols) * TraceValue::size_of(type));
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto place = order[static_cast<std::size_t>(row)];
    std::copy_n(sorted.begin() + row * bytes, bytes, shown.begin() + place * bytes);
  }
  trace_({name, type, tokens_, top_k * cols, shown.data()});
}

}  // namespace fp8ref
