// SPDX-License-Identifier: Apache-2.0
#include "position_tables.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "fp8ref/cpu.h"

namespace fp8ref {

PositionTables::PositionTables(Ops& ops, const LlamaConfig& config)
    : ops_(ops),
      limit_(config.max_position_embeddings),
      frequencies_(static_cast<std::size_t>(config.head_dim / 2)),
      factors_width_(config.temperature ? 1 : 0),
      floor_scale_(static_cast<float>(config.temperature.value_or(Temperature{}).floor_scale)),
      attn_scale_(static_cast<float>(config.temperature.value_or(Temperature{}).attn_scale)),
      cos_(ops, 0),
      sin_(ops, 0),
      factors_(ops, 0) {
  const RopeScaling* scaling = config.rope_scaling ? &*config.rope_scaling : nullptr;
  cpu::rope_frequencies(config.head_dim, config.rope_theta, scaling, frequencies_.data());
}

/// To `capacity` positions of `width` floats, with those that are known.
void PositionTables::grow(Buffer<float>& table, std::int64_t width, std::int64_t capacity) {
  Buffer<float> larger(ops_, capacity * width);
  ops_.copy(larger.data(), table.data(), static_cast<std::size_t>(known_ * width) * sizeof(float));
  table = std::move(larger);
}

void PositionTables::extend(std::int64_t count) {
  if (count <= known_) return;
  if (count > capacity_) {
    const std::int64_t capacity = std::min(std::max(count, 2 * capacity_), limit_);
    grow(cos_, half(), capacity);
    grow(sin_, half(), capacity);
    grow(factors_, factors_width_, capacity);
    capacity_ = capacity;
  }
  const std::int64_t added = count - known_;
  std::vector<std::int64_t> positions(static_cast<std::size_t>(added));
  std::iota(positions.begin(), positions.end(), known_);
  std::vector<float> cos(positions.size() * frequencies_.size()), sin(cos.size());
  cpu::rope_table(positions.data(), added, frequencies_.data(), half(), cos.data(), sin.data());
  ops_.upload(cos_.data() + known_ * half(), cos.data(), cos.size() * sizeof(float));
  ops_.upload(sin_.data() + known_ * half(), sin.data(), sin.size() * sizeof(float));
  if (factors_width_ != 0) {
    std::vector<float> factors(positions.size());
    cpu::temperature_factors(positions.data(), added, floor_scale_, attn_scale_, factors.data());
    ops_.upload(factors_.data() + known_, factors.data(), factors.size() * sizeof(float));
  }
  known_ = count;
}

}  // namespace fp8ref
