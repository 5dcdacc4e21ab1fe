// SPDX-License-Identifier: Apache-2.0
// The C ABI of rope, temperature and attention.
#include <algorithm>

#include "c/op.h"
#include "fp8ref/cpu.h"
#include "fp8ref/modes.h"
#include "fp8ref/round.h"
#include "policies.h"

using fp8ref::bf16;
using namespace fp8ref::c;
namespace cpu = fp8ref::cpu;

namespace {

constexpr std::int64_t kPositions = 1 << 24;  // a position below this is a float32 number

/// Positions that are float32 numbers. [ROPE-ARGUMENTS] [TEMPERATURE-ARGUMENTS]
std::vector<std::int64_t> position_values(const Op& op, const fp8ref_tensor* positions) {
  std::vector<std::int64_t> index = op.integers("positions", positions);
  const auto outside = std::find_if(index.begin(), index.end(), [](auto i) { return i < 0 || i >= kPositions; });
  if (outside != index.end()) op.fail("positions must lie in [0, 2**24), got " + std::to_string(*outside));
  return index;
}

/// The mask and its chunk. [ATTN-VISIBLE]
void set_mask(const Op& op, const char* mask, const std::int64_t* chunk, fp8ref::AttentionArgs& args) {
  args.mask = fp8ref::mask_of(op.policy("mask", mask));
  const bool chunked = args.mask == fp8ref::Mask::chunked;
  if (chunk != nullptr && !chunked) {
    op.fail("chunk belongs to mask='chunked', got chunk=" + std::to_string(*chunk) + " and mask='" + mask + "'");
  }
  if (chunked && (chunk == nullptr || *chunk < 1)) {
    op.fail("chunk must be an integer from 1, got " + (chunk == nullptr ? "NULL" : std::to_string(*chunk)));
  }
  args.chunk = chunked ? *chunk : 0;
}

}  // namespace

fp8ref_status fp8ref_rope_frequencies(int64_t head_dim, double base, const fp8ref_rope_scaling* scaling,
                                      fp8ref_tensor* frequencies) {
  return call("rope_frequencies", [&](const Op& op) {
    if (head_dim < 2 || head_dim % 2 != 0) {
      op.fail("head_dim must be an even number >= 2, got " + std::to_string(head_dim));
    }
    op.positive_float64("base", base);
    fp8ref::RopeScaling llama3{};
    if (scaling != nullptr) {
      op.positive_float32("factor", scaling->factor);
      op.positive_float32("low_freq_factor", scaling->low_freq_factor);
      op.positive_float32("high_freq_factor", scaling->high_freq_factor);
      op.positive_float32("original_max_position_embeddings", scaling->original_max_position_embeddings);
      llama3 = {scaling->factor, scaling->low_freq_factor, scaling->high_freq_factor,
                scaling->original_max_position_embeddings};
    }
    const Array to = op.output("frequencies", frequencies, {FP8REF_FLOAT32}, {head_dim / 2});
    cpu::rope_frequencies(head_dim, base, scaling == nullptr ? nullptr : &llama3, to.as<float>());
  });
}

fp8ref_status fp8ref_rope_table(const fp8ref_tensor* positions, const fp8ref_tensor* frequencies, fp8ref_tensor* cos,
                                fp8ref_tensor* sin) {
  return call("rope_table", [&](const Op& op) {
    const std::vector<std::int64_t> index = position_values(op, positions);
    const Array inverse = op.array("frequencies", frequencies, {FP8REF_FLOAT32}, 1);
    const Shape shape{static_cast<std::int64_t>(index.size()), inverse.size};
    const Array cosines = op.output("cos", cos, {FP8REF_FLOAT32}, shape);
    const Array sines = op.output("sin", sin, {FP8REF_FLOAT32}, shape);
    cpu::rope_table(index.data(), shape[0], inverse.as<const float>(), inverse.size, cosines.as<float>(),
                    sines.as<float>());
  });
}

fp8ref_status fp8ref_rope(const fp8ref_tensor* x, const fp8ref_tensor* cos, const fp8ref_tensor* sin,
                          const char* layout, fp8ref_tensor* out) {
  return call("rope", [&](const Op& op) {
    const fp8ref::RopeLayout pairs = fp8ref::layout_of(op.policy("layout", layout));
    const Array from = op.bf16_array("x", x, 3);
    const std::int64_t tokens = from.shape[0], width = from.shape[2];
    const Array cosines = op.array("cos", cos, {FP8REF_FLOAT32}, 2), sines = op.array("sin", sin, {FP8REF_FLOAT32}, 2);
    for (const auto& [name, table] : {std::pair{"cos", cosines}, std::pair{"sin", sines}}) {
      if (width % 2 != 0 || !table.has_shape({tokens, width / 2})) {
        op.fail("x " + text(from.shape) + " needs " + name + " of shape (T, d // 2) with d even, got " +
                describe(table));
      }
    }
    const Array to = op.output("out", out, {FP8REF_BFLOAT16}, from.same_shape());
    cpu::rope(from.as<const bf16>(), tokens, from.shape[1], width / 2, cosines.as<const float>(),
              sines.as<const float>(), pairs, to.as<bf16>());
  });
}

fp8ref_status fp8ref_temperature_factors(const fp8ref_tensor* positions, double floor_scale, double attn_scale,
                                         fp8ref_tensor* factors) {
  return call("temperature_factors", [&](const Op& op) {
    const std::vector<std::int64_t> index = position_values(op, positions);
    op.positive_float32("floor_scale", floor_scale);
    op.positive_float32("attn_scale", attn_scale);
    const std::int64_t count = static_cast<std::int64_t>(index.size());
    const Array to = op.output("factors", factors, {FP8REF_FLOAT32}, {count});
    cpu::temperature_factors(index.data(), count, fp8ref::rn32(floor_scale), fp8ref::rn32(attn_scale), to.as<float>());
  });
}

fp8ref_status fp8ref_temperature(const fp8ref_tensor* x, const fp8ref_tensor* factors, fp8ref_tensor* out) {
  return call("temperature", [&](const Op& op) {
    const Array from = op.bf16_array("x", x, 3), values = op.array("factors", factors, {FP8REF_FLOAT32}, 1);
    const std::int64_t tokens = from.shape[0];
    if (!values.has_shape({tokens})) {
      op.fail("x " + text(from.shape) + " needs factors of shape (T,), got " + describe(values));
    }
    const Array to = op.output("out", out, {FP8REF_BFLOAT16}, from.same_shape());
    cpu::temperature(from.as<const bf16>(), tokens, from.shape[1] * from.shape[2], values.as<const float>(),
                     to.as<bf16>());
  });
}

fp8ref_status fp8ref_attention(const fp8ref_tensor* q, const fp8ref_tensor* k, const fp8ref_tensor* v,
                               const double* scale, const char* mask, const char* accumulate, const std::int64_t* chunk,
                               fp8ref_tensor* out) {
  return call("attention", [&](const Op& op) {
    fp8ref::AttentionArgs args{};
    args.accumulate =
        op.accumulate(accumulate, [](fp8ref::Accumulate name) { return fp8ref::find_mode(name) != nullptr; });
    set_mask(op, mask, chunk, args);
    const Array query = op.bf16_array("q", q, 3), key = op.bf16_array("k", k, 3), value = op.bf16_array("v", v, 3);
    const std::int64_t heads = query.shape[1], d = query.shape[2], kv_heads = key.shape[1];
    if (!key.has_shape(value.same_shape()) || key.shape[2] != d || d == 0 || kv_heads == 0 || heads % kv_heads != 0) {
      op.fail("expected q (T, Hq, d), k and v (S, Hkv, d), d >= 1, Hq a multiple of Hkv; got q: " + describe(query) +
              ", k: " + describe(key) + ", v: " + describe(value));
    }
    if (args.mask != fp8ref::Mask::full && key.shape[0] < query.shape[0]) {
      op.fail("a " + std::string(mask) + " mask needs at least as many keys as queries, got " +
              std::to_string(key.shape[0]) + " and " + std::to_string(query.shape[0]));
    }
    if (scale != nullptr && !(*scale >= 0 && *scale < 0x1p127)) {
      op.fail("scale must be a number >= 0 and below 2**127, got " + std::to_string(*scale));
    }
    const Array to = op.output("out", out, {FP8REF_BFLOAT16}, query.same_shape());
    args.q = query.as<const bf16>();
    args.k = key.as<const bf16>();
    args.v = value.as<const bf16>();
    args.q_len = query.shape[0];
    args.kv_len = key.shape[0];
    args.q_heads = heads;
    args.kv_heads = kv_heads;
    args.head_dim = d;
    args.log2e_scale = scale == nullptr ? cpu::attention_log2e_scale(d) : cpu::attention_log2e_scale(*scale);
    args.out = to.as<bf16>();
    cpu::attention(args);
  });
}
