// SPDX-License-Identifier: Apache-2.0
// Llama on any device: its weights there, the KV cache, and forwards in chunks.
#include "fp8ref/llama.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "fp8ref/errors.h"
#include "fpenv.h"
#include "llama_pass.h"

namespace fp8ref {
namespace {

/// [LLAMA-TOKENS]
void check_tokens(const LlamaConfig& config, std::span<const std::int64_t> tokens, std::int64_t length) {
  if (tokens.empty()) throw OpError("llama: tokens must hold at least one id");
  for (const std::int64_t token : tokens) {
    if (token < 0 || token >= config.embedding_rows) {
      throw OpError("llama: token id " + std::to_string(token) + " is outside of the vocabulary [0, " +
                    std::to_string(config.embedding_rows) + ")");
    }
  }
  if (static_cast<std::int64_t>(tokens.size()) > config.max_position_embeddings - length) {
    throw OpError("llama: " + std::to_string(length) + " tokens so far and " + std::to_string(tokens.size()) +
                  " new ones exceed max_position_embeddings=" + std::to_string(config.max_position_embeddings));
  }
}

/// [LLAMA-VISION]
void check_vision(const LlamaConfig& config, const std::optional<VisionStates>& vision_states) {
  if (!vision_states) return;
  if (config.family != Family::mllama) throw OpError("llama: vision_states are for mllama, and the model is another");
  if (vision_states->rows < 1) throw OpError("llama: vision_states must hold at least one image token");
}

/// Whether the same operations are queued for every token. [LLAMA-MOE] with bf16 experts asks which were chosen.
bool repeatable(const std::vector<LlamaLayerWeights>& layers) {
  for (const LlamaLayerWeights& layer : layers) {
    if (!layer.moe) continue;
    const MlpWeights& expert = layer.moe->experts.front();
    for (const Projection* part : {&expert.gate_proj, &expert.up_proj, &expert.down_proj}) {
      if (part->codes == nullptr) return false;
    }
  }
  return true;
}

/// A model and its KV cache on the device of its Ops.
class OpsLlama final : public Llama {
 public:
  OpsLlama(const LlamaWeights& weights, Accumulate accumulate, std::unique_ptr<Ops> ops)
      : ops_(std::move(ops)),
        setup_(weights.config, accumulate),
        config_(setup_.config),
        storage_(weights.storage),
        repeatable_(repeatable(weights.layers)),
        embed_tokens_(keep(weights.embed_tokens, config_.embedding_rows)),
        norm_(keep(weights.norm, 1)),
        lm_head_(*ops_, {.out = config_.vocab_size, .in = config_.hidden_size, .weight = weights.lm_head}),
        tables_(*ops_, config_),
        cache_(*ops_, config_, weights.layers),
        narrow_(*ops_, kLogits * config_.vocab_size),
        wide_(*ops_, kLogits * config_.vocab_size),
        choice_(*ops_, 1) {
    for (const LlamaLayerWeights& layer : weights.layers) layers_.emplace_back(*ops_, layer, config_);
  }

  const LlamaConfig& config() const override { return config_; }
  const LayerKind& layer(std::int64_t index) const override { return layers_[static_cast<std::size_t>(index)].kind; }
  void reset() override {
    cache_.set_length(0);
    image_.reset();
  }
  std::int64_t length() const override { return cache_.length(); }

  void forward(std::span<const std::int64_t> tokens, std::int64_t logits_rows, float* logits, const Trace& trace,
               const Poll& poll, const std::optional<VisionStates>& vision_states) override {
    check_tokens(config_, tokens, length());
    check_vision(config_, vision_states);
    const auto count = static_cast<std::int64_t>(tokens.size());
    if (logits_rows < 0 || logits_rows > count) {
      throw OpError("llama: logits_rows must be from 0 to " + std::to_string(count) + ", got " +
                    std::to_string(logits_rows));
    }
    append({tokens, vision_states}, trace, poll, {}, [&](Pass& pass, std::int64_t end, std::int64_t rows) {
      // Of this piece, which ends with token `end` of the forward, those that get logits.
      const std::int64_t wanted = std::clamp<std::int64_t>(end - (count - logits_rows), 0, rows);
      if (!trace && wanted == 0) return;
      float* out = logits + (end - wanted - (count - logits_rows)) * config_.vocab_size;
      head(pass, rows, wanted, out, poll);
      if (trace && wanted > 0) trace({"logits", TraceValue::Type::float32, wanted, config_.vocab_size, out});
    });
  }

 private:
  static constexpr std::int64_t kLogits = 64;  // tokens at a time, to bound the memory of their logits

  const bf16* keep(const bf16* host, std::int64_t rows) {
    return static_cast<const bf16*>(ops_->keep(host, static_cast<std::size_t>(rows * config_.hidden_size) * 2));
  }

  std::int64_t greedy(std::span<const std::int64_t> tokens, const Poll& poll,
                      const std::optional<VisionStates>& vision_states) override {
    std::int64_t id = 0;
    const auto count = static_cast<std::int64_t>(tokens.size());
    const auto choose = [&](Pass& pass, std::int64_t end, std::int64_t rows) {
      if (end < count) return;
      pass.norm(norm_, 1);
      pass.logits(lm_head_, rows - 1, 1, narrow_.data());
      ops_->widen(narrow_.data(), config_.vocab_size, wide_.data());
      ops_->sample(wide_.data(), 1, config_.vocab_size, choice_.data());
    };
    append({tokens, vision_states}, {}, poll, choose, {});
    ops_->download(&id, choice_.data(), sizeof id);
    return id;
  }

  /// What a forward gets.
  struct Given {
    std::span<const std::int64_t> tokens;
    const std::optional<VisionStates>& vision_states;
  };
  /// Called with a piece of `rows` tokens that ends with token `end` of the forward.
  using Finish = std::function<void(Pass&, std::int64_t end, std::int64_t rows)>;

  /// Feeds tokens in pieces. `queued` belongs to the work that the device may repeat; `finish` comes after it, and may
  /// wait for it. Only in the end the tokens and the image count: a forward that throws leaves nothing behind.
  void append(const Given& given, const Trace& trace, const Poll& poll, const Finish& queued, const Finish& finish) {
    const auto count = static_cast<std::int64_t>(given.tokens.size());
    cache_.reserve(length() + count);
    tables_.extend(length() + count);
    std::optional<Vision> vision;
    std::optional<Image> image;
    if (given.vision_states) {
      vision.emplace(*ops_, config_, *given.vision_states);
      image.emplace(*ops_, config_, layers_, vision->rows);
    }
    const Image* seen = image ? &*image : image_ ? &*image_ : nullptr;
    const std::int64_t chunk = trace ? count : ops_->chunk();  // a trace has each name once
    for (std::int64_t begin = 0; begin < count; begin += chunk) {
      const std::int64_t rows = std::min(count - begin, chunk);
      if (!scratch_ || scratch_->tokens < rows) scratch_.emplace(*ops_, config_, rows);
      const Vision* states = vision && begin == 0 ? &*vision : nullptr;
      Pass pass({*ops_, setup_, tables_, cache_, *scratch_, trace, seen, states}, length() + begin, rows);
      pass.embed(embed_tokens_, given.tokens.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(rows)));
      const auto work = [&] {
        run_layers(pass, seen, poll);
        if (queued) queued(pass, begin + rows, rows);
      };
      if (rows == 1 && !trace && states == nullptr && repeatable_) {
        ops_->repeat(work);
      } else {
        work();
      }
      if (finish) finish(pass, begin + rows, rows);
    }
    if (image) image_ = std::move(image);
    cache_.set_length(length() + count);
  }

  void run_layers(Pass& pass, const Image* image, const Poll& poll) {
    for (std::int64_t i = 0; i < config_.num_hidden_layers; ++i) {
      const Layer& layer = layers_[static_cast<std::size_t>(i)];
      if (layer.cross && image == nullptr) continue;  // [LLAMA-CROSS]
      if (poll) poll();
      pass.attend(i, layer);
      if (poll) poll();
      pass.feed_forward(i, layer);
    }
  }

  /// Logits of the last `count` of the pass's `rows` tokens, to the host.
  void head(Pass& pass, std::int64_t rows, std::int64_t count, float* logits, const Poll& poll) {
    const std::int64_t vocab = config_.vocab_size;
    pass.norm(norm_, count);
    for (std::int64_t done = 0; done < count; done += kLogits) {
      if (poll) poll();
      const std::int64_t part = std::min(kLogits, count - done);
      pass.logits(lm_head_, rows - count + done, part, narrow_.data());
      ops_->widen(narrow_.data(), part * vocab, wide_.data());
      ops_->download(logits + done * vocab, wide_.data(), static_cast<std::size_t>(part * vocab) * sizeof(float));
    }
  }

  const std::unique_ptr<Ops> ops_;  // before all that lies in its memory
  const Setup setup_;
  const LlamaConfig& config_;
  const std::shared_ptr<const void> storage_;
  const bool repeatable_;
  const bf16 *const embed_tokens_, *const norm_;
  Linear lm_head_;
  std::vector<Layer> layers_;
  PositionTables tables_;
  KvCache cache_;
  std::optional<Image> image_;
  std::optional<Scratch> scratch_;
  Buffer<bf16> narrow_;
  Buffer<float> wide_;
  Buffer<std::int64_t> choice_;
};

}  // namespace

std::unique_ptr<Llama> make_llama(const LlamaWeights& weights, Accumulate accumulate, std::unique_ptr<Ops> ops) {
  const cpu::FpEnv env;  // numbers of the config are rounded to nearest
  check_projections(weights, Setup(weights.config, accumulate));
  return std::make_unique<OpsLlama>(weights, accumulate, std::move(ops));
}

std::unique_ptr<Llama> Llama::load(const std::string& folder, Accumulate accumulate, Weights weights) {
  const LlamaWeights read = read_llama(folder);
  return make_llama(read, accumulate, cpu_ops(read.storage, weights));
}

std::vector<std::int64_t> Llama::generate(std::span<const std::int64_t> prompt, std::int64_t max_new_tokens,
                                          const std::function<void(std::int64_t)>& on_token, const Poll& poll,
                                          const std::optional<VisionStates>& vision_states) {
  const std::vector<std::int64_t>& eos = config().eos_token_ids;
  check_tokens(config(), prompt, 0);
  check_vision(config(), vision_states);
  if (max_new_tokens < 0) {
    throw OpError("llama: max_new_tokens must be at least 0, got " + std::to_string(max_new_tokens));
  }
  const std::int64_t room = config().max_position_embeddings - static_cast<std::int64_t>(prompt.size());
  const auto most = static_cast<std::size_t>(std::min(max_new_tokens, room));
  std::vector<std::int64_t> ids;
  reset();
  while (ids.size() < most && (ids.empty() || std::find(eos.begin(), eos.end(), ids.back()) == eos.end())) {
    const bool first = ids.empty();
    ids.push_back(first ? greedy(prompt, poll, vision_states) : greedy(std::span(ids).last(1), poll, {}));
    if (on_token) on_token(ids.back());
  }
  return ids;
}

}  // namespace fp8ref
