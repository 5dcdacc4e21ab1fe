// SPDX-License-Identifier: Apache-2.0
// A whole Llama (3, 3.1, 3.2, 3.3 text) on the CPU, from a checkpoint folder to token ids; needs no Python.
// The numeric contract is spec/llama.md; bits are those of the golden model, however the prompt is cut.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fp8ref/checkpoint.h"
#include "fp8ref/platform.h"

namespace fp8ref {

/// An intermediate of a forward, under its name of [LLAMA-TRACE].
struct TraceValue {
  enum class Type { bfloat16, uint8, float32 };
  std::string name;
  Type type;
  std::int64_t rows, cols;
  const void* data;  // valid during the call only
};
using Trace = std::function<void(const TraceValue&)>;
using Poll = std::function<void()>;

/// A model with its KV cache. For one thread at a time; the work itself uses all threads of cpu::set_threads.
/// A call that throws leaves the cache as it was.
class Llama {
 public:
  /// Opens a folder; throws CheckpointError or UnsupportedError.
  static std::unique_ptr<Llama> load(const std::string& folder, Accumulate accumulate);
  virtual ~Llama() = default;

  virtual const LlamaConfig& config() const = 0;

  /// Forgets the KV cache.
  virtual void reset() = 0;
  /// Tokens in the KV cache.
  virtual std::int64_t length() const = 0;
  /// Appends tokens to the cache. Logits of the last `logits_rows` tokens (0 to all) go to `logits`, (logits_rows,
  /// vocab_size). `poll` is called at least once a layer and may throw to interrupt. Throws OpError for what
  /// [LLAMA-TOKENS] rules out.
  virtual void forward(std::span<const std::int64_t> tokens, std::int64_t logits_rows, float* logits,
                       const Trace& trace = {}, const Poll& poll = {}) = 0;
  /// Greedy, from an empty cache; returns the new ids only, an EOS id that ends them included. [LLAMA-GENERATE]
  std::vector<std::int64_t> generate(std::span<const std::int64_t> prompt, std::int64_t max_new_tokens,
                                     const std::function<void(std::int64_t)>& on_token = {}, const Poll& poll = {});

 private:
  /// Appends checked tokens to the cache and returns what spec/sample.md's greedy choice makes of the last one's
  /// logits.
  virtual std::int64_t greedy(std::span<const std::int64_t> tokens, const Poll& poll) = 0;
};

}  // namespace fp8ref
