// SPDX-License-Identifier: Apache-2.0
// A whole Llama (3 to 3.3, 4, and 3.2 Vision's text model) on the CPU, from a checkpoint folder to token ids; needs no
// Python.
// The numeric contract is spec/llama.md; bits are those of the golden model, however the prompt is cut.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fp8ref/checkpoint.h"
#include "fp8ref/platform.h"

namespace fp8ref {

/// An intermediate of a forward, under its name of [LLAMA-TRACE].
struct TraceValue {
  enum class Type { bfloat16, uint8, float32, int64 };
  std::string name;
  Type type;
  std::int64_t rows, cols;
  const void* data;  // valid during the call only

  /// Bytes of an element.
  static constexpr std::size_t size_of(Type type) {
    return type == Type::int64 ? 8 : type == Type::float32 ? 4 : type == Type::bfloat16 ? 2 : 1;
  }
};
using Trace = std::function<void(const TraceValue&)>;
using Poll = std::function<void()>;

/// What a forward leaves of the weights that it used [LLAMA-STREAM]; mapped: whatever the system keeps, streamed: as
/// little as it can. No bit depends on it.
enum class Weights { mapped, streamed };

/// An image for Llama 3.2 Vision, as its multimodal projector gives it: (rows, hidden_size). [LLAMA-VISION]
struct VisionStates {
  const bf16* data;
  std::int64_t rows;
};

/// A model with its KV cache. For one thread at a time; the work itself uses all threads of cpu::set_threads.
/// A call that throws leaves the cache, and the image in it, as it was.
class Llama {
 public:
  /// Opens a folder; throws CheckpointError or UnsupportedError.
  static std::unique_ptr<Llama> load(const std::string& folder, Accumulate accumulate,
                                     Weights weights = Weights::mapped);
  virtual ~Llama() = default;

  virtual const LlamaConfig& config() const = 0;
  /// What a layer computes. [LLAMA-LAYERS]
  virtual const LayerKind& layer(std::int64_t index) const = 0;

  /// Forgets the KV cache, and the image.
  virtual void reset() = 0;
  /// Tokens in the KV cache.
  virtual std::int64_t length() const = 0;
  /// Appends tokens to the cache. Logits of the last `logits_rows` tokens (0 to all) go to `logits`, (logits_rows,
  /// vocab_size). `poll` is called at least once a layer and may throw to interrupt. An image that comes with the
  /// tokens holds for those after them too. Throws OpError for what [LLAMA-TOKENS] and [LLAMA-VISION] rule out.
  virtual void forward(std::span<const std::int64_t> tokens, std::int64_t logits_rows, float* logits,
                       const Trace& trace = {}, const Poll& poll = {},
                       const std::optional<VisionStates>& vision_states = {}) = 0;
  /// Greedy, from an empty cache; returns the new ids only, an EOS id that ends them included. [LLAMA-GENERATE]
  std::vector<std::int64_t> generate(std::span<const std::int64_t> prompt, std::int64_t max_new_tokens,
                                     const std::function<void(std::int64_t)>& on_token = {}, const Poll& poll = {},
                                     const std::optional<VisionStates>& vision_states = {});

 private:
  /// Appends checked tokens to the cache and returns what spec/sample.md's greedy choice makes of the last one's
  /// logits.
  virtual std::int64_t greedy(std::span<const std::int64_t> tokens, const Poll& poll,
                              const std::optional<VisionStates>& vision_states) = 0;
};

}  // namespace fp8ref
