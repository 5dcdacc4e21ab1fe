// SPDX-License-Identifier: Apache-2.0
// What depends on a token's position alone: cos and sin of RoPE, and the temperature's factors. Internal.
#pragma once

#include <cstdint>
#include <vector>

#include "fp8ref/checkpoint.h"
#include "ops.h"

namespace fp8ref {

/// Tables of the positions seen so far. [LLAMA-ROPE], [LLAMA-TEMPERATURE]
class PositionTables {
 public:
  PositionTables(Ops& ops, const LlamaConfig& config);

  /// Makes positions 0 to count - 1 available.
  void extend(std::int64_t count);
  const float* cos(std::int64_t position) const { return cos_.data() + position * half(); }
  const float* sin(std::int64_t position) const { return sin_.data() + position * half(); }
  /// Of a model with a temperature.
  const float* factors(std::int64_t position) const { return factors_.data() + position; }
  std::int64_t half() const { return static_cast<std::int64_t>(frequencies_.size()); }

 private:
  void grow(Buffer<float>& table, std::int64_t width, std::int64_t capacity);

  Ops& ops_;
  const std::int64_t limit_;
  std::vector<float> frequencies_;
  const std::int64_t factors_width_;  // 1 with a temperature, else 0
  const float floor_scale_, attn_scale_;
  std::int64_t known_ = 0, capacity_ = 0;
  Buffer<float> cos_, sin_, factors_;
};

}  // namespace fp8ref
