// SPDX-License-Identifier: Apache-2.0
// Llama on the CPU: weights as views of the checkpoint, the KV cache, and forwards in chunks.
#include "fp8ref/llama.h"

#include <algorithm>
#include <utility>

#include "fp8ref/errors.h"
#include "fpenv.h"
#include "llama_pass.h"

namespace fp8ref {
namespace {

/// Tokens that go through the layers together, to bound the memory of their activations. No bit depends on it.
constexpr std::int64_t kChunk = 512;

/// [LLAMA-TOKENS]
void check_tokens(const LlamaConfig& config, std::span<const std::int64_t> tokens, std::int64_t length) {
  if (tokens.empty()) throw OpError("llama: tokens must hold at least one id");
  for (const std::int64_t token : tokens) {
    if (token < 0 || token >= config.vocab_size) {
      throw OpError("llama: token id " + std::to_string(token) + " is outside of the vocabulary [0, " +
                    std::to_string(config.vocab_size) + ")");
    }
  }
  if (static_cast<std::int64_t>(tokens.size()) > config.max_position_embeddings - length) {
    throw OpError("llama: " + std::to_string(length) + " tokens so far and " + std::to_string(tokens.size()) +
                  " new ones exceed max_position_embeddings=" + std::to_string(config.max_position_embeddings));
  }
}

class CpuLlama final : public Llama {
 public:
  CpuLlama(LlamaWeights weights, Accumulate accumulate)
      : setup_(weights.config, accumulate),
        config_(setup_.config),
        storage_(std::move(weights.storage)),
        embed_tokens_(weights.embed_tokens),
        norm_(weights.norm),
        lm_head_(weights.lm_head),
        lm_head_facts_(static_cast<std::size_t>(config_.vocab_size)),
        rope_(config_),
        cache_(config_.num_hidden_layers, config_.num_key_value_heads * config_.head_dim,
               config_.max_position_embeddings) {
    for (LlamaLayerWeights& layer : weights.layers) layers_.emplace_back(std::move(layer));
    cpu::linear_row_facts(lm_head_, config_.vocab_size, config_.hidden_size, lm_head_facts_.data());
  }

  const LlamaConfig& config() const override { return config_; }
  void reset() override { cache_.set_length(0); }
  std::int64_t length() const override { return cache_.length(); }

  void forward(std::span<const std::int64_t> tokens, std::int64_t logits_rows, float* logits, const Trace& trace,
               const Poll& poll) override {
    check_tokens(config_, tokens, length());
    const auto count = static_cast<std::int64_t>(tokens.size());
    if (logits_rows < 0 || logits_rows > count) {
      throw OpError("llama: logits_rows must be from 0 to " + std::to_string(count) + ", got " +
                    std::to_string(logits_rows));
    }
    cache_.reserve(length() + count);
    rope_.extend(length() + count);
    const std::int64_t chunk = trace ? count : kChunk;  // a trace has each name once
    for (std::int64_t begin = 0; begin < count; begin += chunk) {
      const std::int64_t end = std::min(count, begin + chunk);
      const std::int64_t rows = std::clamp<std::int64_t>(end - (count - logits_rows), 0, end - begin);
      float* out = logits + std::max<std::int64_t>(begin - (count - logits_rows), 0) * config_.vocab_size;
      run(tokens.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)), length() + begin,
          rows, out, trace, poll);
    }
    cache_.set_length(length() + count);  // only now: a forward that throws leaves no token behind
  }

 private:
  /// One chunk, its first token at position `first`.
  void run(std::span<const std::int64_t> tokens, std::int64_t first, std::int64_t logits_rows, float* logits,
           const Trace& trace, const Poll& poll) {
    const auto rows = static_cast<std::int64_t>(tokens.size());
    cpu::Pass pass(setup_, rope_, cache_, scratch_, trace, first, rows);
    pass.embed(embed_tokens_, tokens);
    for (std::int64_t i = 0; i < config_.num_hidden_layers; ++i) {
      const cpu::Layer& layer = layers_[static_cast<std::size_t>(i)];
      if (poll) poll();
      pass.attend(i, layer);
      if (poll) poll();
      pass.mlp(i, layer);
    }
    if (trace || logits_rows > 0) pass.head(norm_, lm_head_, lm_head_facts_.data(), logits_rows, logits, poll);
  }

  const cpu::Setup setup_;
  const LlamaConfig& config_;
  const std::shared_ptr<const void> storage_;
  const bf16 *const embed_tokens_, *const norm_, *const lm_head_;
  std::vector<RowFacts> lm_head_facts_;
  std::vector<cpu::Layer> layers_;
  cpu::RopeTable rope_;
  cpu::KvCache cache_;
  cpu::Scratch scratch_;
};

}  // namespace

std::unique_ptr<Llama> Llama::load(const std::string& folder, Accumulate accumulate) {
  const cpu::FpEnv env;  // numbers of the config are rounded to nearest
  return std::make_unique<CpuLlama>(read_llama(folder), accumulate);
}

std::vector<std::int64_t> Llama::generate(std::span<const std::int64_t> prompt, std::int64_t max_new_tokens,
                                          const std::function<void(std::int64_t)>& on_token, const Poll& poll) {
  const std::vector<std::int64_t>& eos = config().eos_token_ids;
  check_tokens(config(), prompt, 0);
  if (max_new_tokens < 0) {
    throw OpError("llama: max_new_tokens must be at least 0, got " + std::to_string(max_new_tokens));
  }
  const std::int64_t room = config().max_position_embeddings - static_cast<std::int64_t>(prompt.size());
  const auto most = static_cast<std::size_t>(std::min(max_new_tokens, room));
  std::vector<std::int64_t> ids;
  std::vector<float> logits(static_cast<std::size_t>(config().vocab_size));
  reset();
  while (ids.size() < most && (ids.empty() || std::find(eos.begin(), eos.end(), ids.back()) == eos.end())) {
    const std::span<const std::int64_t> fed = ids.empty() ? prompt : std::span(ids).last(1);
    forward(fed, 1, logits.data(), {}, poll);
    std::int64_t id = 0;
    cpu::sample(logits.data(), 1, config().vocab_size, &id);
    ids.push_back(id);
    if (on_token) on_token(id);
  }
  return ids;
}

}  // namespace fp8ref
