// SPDX-License-Identifier: Apache-2.0
// rope_table and rope on a CUDA device (spec/rope.md). rope moves 4 bytes per element beside the table.
#include "cuda/launch.h"
#include "cuda/packed.h"
#include "fp8ref/cuda.h"
#include "fp8ref/rope.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256;

/// One angle per thread.
__global__ void rope_table_kernel(const std::int64_t* positions, std::int64_t count, const float* inv,
                                  std::int64_t half, float* cos, float* sin) {
  for (std::int64_t i = grid_thread(); i < count * half; i += grid_threads()) {
    const CosSin value = cos_sin(rope_angle(positions[i / half], inv[i % half]));
    cos[i] = value.cos;
    sin[i] = value.sin;
  }
}

/// Eight neighbours of the table, rounded to bf16.
__device__ __forceinline__ Bf16x8 table8(const float* table) {
  const Vector<float, 4> a = load<4>(table), b = load<4>(table + 4);
  return {{round2<bf16>(a.item[0], a.item[1]), round2<bf16>(a.item[2], a.item[3]), round2<bf16>(b.item[0], b.item[1]),
           round2<bf16>(b.item[2], b.item[3])}};
}

/// A block turns all heads of its tokens, 8 pairs per thread. [ROPE-ROTATE]
__global__ void rotate_half_kernel8(const bf16* x, std::int64_t tokens, int heads, int half, const float* cos,
                                    const float* sin, bf16* out) {
  const int across = half / 8, items = heads * across;
  for (std::int64_t token = blockIdx.x; token < tokens; token += gridDim.x) {
    for (int item = static_cast<int>(threadIdx.x); item < items; item += static_cast<int>(blockDim.x)) {
      const int head = item / across, i = 8 * (item % across);
      const Bf16x8 c = table8(cos + token * half + i), s = table8(sin + token * half + i);
      const std::int64_t at = (token * heads + head) * 2 * half + i;
      const Bf16x8 first = load8(x + at), second = load8(x + at + half);
      Bf16x8 a, b;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        a.pair[j] = subtract2(multiply2(first.pair[j], c.pair[j]), multiply2(second.pair[j], s.pair[j]));
        b.pair[j] = add2(multiply2(second.pair[j], c.pair[j]), multiply2(first.pair[j], s.pair[j]));
      }
      store8(canonical8(a), out + at);
      store8(canonical8(b), out + at + half);
    }
  }
}

/// The same of interleaved pairs, 4 per thread. [ROPE-INTERLEAVED]
__global__ void interleaved_kernel4(const bf16* x, std::int64_t tokens, int heads, int half, const float* cos,
                                    const float* sin, bf16* out) {
  const int across = half / 4, items = heads * across;
  for (std::int64_t token = blockIdx.x; token < tokens; token += gridDim.x) {
    for (int item = static_cast<int>(threadIdx.x); item < items; item += static_cast<int>(blockDim.x)) {
      const int i = 4 * (item % across);
      const Vector<float, 4> c = load<4>(cos + token * half + i), s = load<4>(sin + token * half + i);
      const std::int64_t at = token * heads * 2 * half + 8 * static_cast<std::int64_t>(item);
      Bf16x8 turned = load8(x + at);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float a = low_value(turned.pair[j]), b = high_value(turned.pair[j]);
        turned.pair[j] = round2<bf16>(sub32(mul32(a, c.item[j]), mul32(b, s.item[j])),
                                      add32(mul32(a, s.item[j]), mul32(b, c.item[j])));
      }
      store8(canonical8(turned), out + at);
    }
  }
}

/// One pair per thread.
__global__ void rope_kernel(const bf16* x, std::int64_t pairs, std::int64_t heads, std::int64_t half, const float* cos,
                            const float* sin, RopeLayout layout, bf16* out) {
  const bool interleaved = layout == RopeLayout::interleaved;
  for (std::int64_t item = grid_thread(); item < pairs; item += grid_threads()) {
    const std::int64_t token = item / (heads * half), i = item % half, head = item / half * 2 * half;
    const std::int64_t at = head + (interleaved ? 2 * i : i), apart = interleaved ? 1 : half;
    const float c = cos[token * half + i], s = sin[token * half + i];
    bf16 first = x[at], second = x[at + apart];
    if (interleaved) {
      rope_interleaved(c, s, first, second);
    } else {
      rope_rotate(rnbf(c), rnbf(s), first, second);
    }
    out[at] = first;
    out[at + apart] = second;
  }
}

}  // namespace

void rope_table(const std::int64_t* positions, std::int64_t count, const float* inv, std::int64_t half, float* cos,
                float* sin, Stream stream) {
  launch("rope_table", rope_table_kernel, blocks_for(count * half, kThreads), kThreads, 0, stream, positions, count,
         inv, half, cos, sin);
}

void rope(const bf16* x, std::int64_t tokens, std::int64_t heads, std::int64_t half, const float* cos, const float* sin,
          RopeLayout layout, bf16* out, Stream stream) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;  // of what the kernels of vectors count in int
  const bool interleaved = layout == RopeLayout::interleaved;
  if (half % (interleaved ? 4 : 8) == 0 && half > 0 && heads * half < kMost && aligned(16, x, cos, sin, out)) {
    launch("rope", interleaved ? interleaved_kernel4 : rotate_half_kernel8, heads == 0 ? 0 : blocks_for(tokens, 1),
           kThreads, 0, stream, x, tokens, heads, half, cos, sin, out);
    return;
  }
  const std::int64_t pairs = tokens * heads * half;
  launch("rope", rope_kernel, blocks_for(pairs, kThreads), kThreads, 0, stream, x, pairs, heads, half, cos, sin, layout,
         out);
}

}  // namespace fp8ref::cuda
