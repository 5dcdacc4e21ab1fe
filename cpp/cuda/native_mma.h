// SPDX-License-Identifier: Apache-2.0
// Chains of 16-bit operands with fp32 results on the tensor cores of the GPU at hand, where they are the unit that is
// wanted: mma.sync, 64 x 64 outputs a block, 4 warps of 32 x 32. Internal.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "cuda/launch.h"
#include "fp8ref/mma.h"

namespace fp8ref::cuda {

/// Whether mma.sync of this GPU computes such steps: from sm_90 on the numbers of 16-bit units are all alike, and so
/// they are before [MMA-UNITS].
inline bool is_native(const TensorCore& core, OperandClass operands, int capability) {
  const Accumulate own = capability >= 90 ? Accumulate::sm90_mma_sync : Accumulate::sm80_mma;
  return operands != OperandClass::fp8 && core == tensor_core(own, operands, OutDtype::float32);
}

inline constexpr int kNativeTile = 64, kNativeDepth = 32, kNativeThreads = 128;
inline constexpr int kNativeWords =
    kNativeDepth / 2 + 4;  // of a row in shared memory: lanes of a fragment never collide

/// Pairs of elements of 64 rows of one operand.
struct NativePanel {
  std::uint32_t pair[kNativeTile][kNativeWords];
};

/// Elements first .. first + 31 of 64 rows from `row` on; beyond the end they are 0.
template <class T>
__device__ __forceinline__ void load_panel(const T* x, std::int64_t row, std::int64_t rows, std::int64_t first,
                                           std::int64_t k, NativePanel& panel) {
#pragma unroll
  for (int i = 0; i < kNativeTile * kNativeDepth / 2 / kNativeThreads; ++i) {
    const int index = i * kNativeThreads + static_cast<int>(threadIdx.x), at = index % (kNativeDepth / 2);
    const std::int64_t r = row + index / (kNativeDepth / 2), p = first + 2 * at;
    std::uint32_t pair = 0;
    if (r < rows && p < k) pair = x[r * k + p].bits;
    if (r < rows && p + 1 < k) pair |= std::uint32_t{x[r * k + p + 1].bits} << 16;
    panel.pair[index / (kNativeDepth / 2)][at] = pair;
  }
}

__device__ __forceinline__ void native_mma(bf16, float (&c)[4], const std::uint32_t (&a)[4],
                                           const std::uint32_t (&b)[2]) {
  mma_bf16(c, a, b);
}
__device__ __forceinline__ void native_mma(fp16, float (&c)[4], const std::uint32_t (&a)[4],
                                           const std::uint32_t (&b)[2]) {
  mma_fp16(c, a, b);
}

/// The steps of one panel for a warp's 32 x 32 outputs, 16 elements of k at a time.
template <class T>
__device__ __forceinline__ void native_steps(const NativePanel& a, const NativePanel& b, int row, int column,
                                             float (&sums)[2][4][4]) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int k = 0; k < kNativeDepth / 2; k += 8) {
    std::uint32_t left[2][4], right[4][2];
#pragma unroll
    for (int x = 0; x < 8; ++x) left[x / 4][x % 4] = a.pair[row + 16 * (x / 4) + g + x % 2 * 8][k + t + x % 4 / 2 * 4];
#pragma unroll
    for (int x = 0; x < 8; ++x) right[x / 2][x % 2] = b.pair[column + 8 * (x / 2) + g][k + t + x % 2 * 4];
#pragma unroll
    for (int x = 0; x < 8; ++x) native_mma(T{}, sums[x / 4][x % 4], left[x / 4], right[x % 4]);
  }
}

/// Sink: begin(i, j) is what a chain begins with, finish(i, j, accumulator) takes its result; i < m, j < n.
template <class T, class Sink>
__global__ void __launch_bounds__(kNativeThreads)
    native_kernel(const T* a, const T* b, std::int64_t m, std::int64_t n, std::int64_t k, Sink sink) {
  auto* panels = shared_memory<NativePanel>();
  const std::int64_t first_row = std::int64_t{blockIdx.x} * kNativeTile;
  const std::int64_t first_column = std::int64_t{blockIdx.y} * kNativeTile;
  const int row = warp_index() / 2 * 32, column = warp_index() % 2 * 32;
  const auto for_outputs = [&](const auto& visit) {
#pragma unroll
    for (int x = 0; x < 32; ++x) {
      const std::int64_t i = first_row + row + x / 16 * 16 + lane_index() / 4 + x % 4 / 2 * 8;
      const std::int64_t j = first_column + column + x / 4 % 4 * 8 + lane_index() % 4 * 2 + x % 2;
      if (i < m && j < n) visit(i, j, x / 16, x / 4 % 4, x % 4);
    }
  };
  float sums[2][4][4] = {};
  for_outputs([&](std::int64_t i, std::int64_t j, int x, int y, int z) { sums[x][y][z] = sink.begin(i, j); });
  for (std::int64_t first = 0; first < k; first += kNativeDepth) {
    const std::int64_t stage = first / kNativeDepth % 2 * 2;
    load_panel(a, first_row, m, first, k, panels[stage]);
    load_panel(b, first_column, n, first, k, panels[stage + 1]);
    __syncthreads();  // the other stage is free: what read it came before this
    native_steps<T>(panels[stage], panels[stage + 1], row, column, sums);
  }
  for_outputs([&](std::int64_t i, std::int64_t j, int x, int y, int z) { sink.finish(i, j, sums[x][y][z]); });
}

template <class T, class Sink>
void launch_native(const char* op, const T* a, const T* b, std::int64_t m, std::int64_t n, std::int64_t k,
                   const Sink& sink, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((m + kNativeTile - 1) / kNativeTile),
                  static_cast<unsigned>((n + kNativeTile - 1) / kNativeTile));
  launch(op, native_kernel<T, Sink>, grid, kNativeThreads, 4 * sizeof(NativePanel), stream, a, b, m, n, k, sink);
}

}  // namespace fp8ref::cuda
