// SPDX-License-Identifier: Apache-2.0
#include "fp8ref/rope.h"

#include "fp8ref/cpu.h"
#include "fpenv.h"
#include "parallel.h"

namespace fp8ref::cpu {
namespace {

constexpr std::int64_t kAnglesPerTask = 1 << 9;
constexpr std::int64_t kPairsPerTask = 1 << 12;

/// The heads of one token. [ROPE-ROTATE]
void rotate_half(const bf16* x, std::int64_t heads, std::int64_t half, const float* cos, const float* sin, bf16* out) {
  for (std::int64_t i = 0; i < half; ++i) {
    const bf16 c = rnbf(cos[i]), s = rnbf(sin[i]);
    for (std::int64_t at = i; at < heads * 2 * half; at += 2 * half) {
      bf16 first = x[at], second = x[at + half];
      rope_rotate(c, s, first, second);
      out[at] = first;
      out[at + half] = second;
    }
  }
}

/// The same. [ROPE-INTERLEAVED]
void interleaved(const bf16* x, std::int64_t heads, std::int64_t half, const float* cos, const float* sin, bf16* out) {
  for (std::int64_t head = 0; head < heads; ++head, x += 2 * half, out += 2 * half) {
    for (std::int64_t i = 0; i < half; ++i) {
      bf16 first = x[2 * i], second = x[2 * i + 1];
      rope_interleaved(cos[i], sin[i], first, second);
      out[2 * i] = first;
      out[2 * i + 1] = second;
    }
  }
}

}  // namespace

void rope_frequencies(std::int64_t head_dim, double base, const RopeScaling* scaling, float* inv) {
  const FpEnv env;
  for (std::int64_t i = 0; i < head_dim / 2; ++i) {
    inv[i] = rope_frequency(head_dim, base, i);
    if (scaling == nullptr) continue;
    inv[i] = rope_llama3(inv[i], rn32(scaling->factor), rn32(scaling->low_freq_factor), rn32(scaling->high_freq_factor),
                         rn32(scaling->original_max_position_embeddings));
  }
}

void rope_table(const std::int64_t* positions, std::int64_t count, const float* inv, std::int64_t half, float* cos,
                float* sin) {
  parallel_for(count, kAnglesPerTask / (half + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t j = 0; j < half; ++j) {
        const CosSin value = cos_sin(rope_angle(positions[i], inv[j]));
        cos[i * half + j] = value.cos;
        sin[i * half + j] = value.sin;
      }
    }
  });
}

void rope(const bf16* x, std::int64_t tokens, std::int64_t heads, std::int64_t half, const float* cos, const float* sin,
          RopeLayout layout, bf16* out) {
  parallel_for(tokens, kPairsPerTask / (heads * half + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t token = begin; token < end; ++token) {
      const bf16* from = x + token * heads * 2 * half;
      bf16* to = out + token * heads * 2 * half;
      const float *c = cos + token * half, *s = sin + token * half;
      if (layout == RopeLayout::rotate_half) {
        rotate_half(from, heads, half, c, s, to);
      } else {
        interleaved(from, heads, half, c, s, to);
      }
    }
  });
}

}  // namespace fp8ref::cpu
