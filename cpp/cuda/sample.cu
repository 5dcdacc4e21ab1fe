// SPDX-License-Identifier: Apache-2.0
// sample on a CUDA device (spec/sample.md): one block per row reads it once.
#include "cuda/launch.h"
#include "cuda/packed.h"
#include "fp8ref/cuda.h"
#include "fp8ref/sample.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 1024;

struct Best {
  float value;
  std::int64_t index;
};

/// The one of higher rank; of equal rank, the one that comes first. [SAMPLE-GREEDY]
__device__ __forceinline__ Best better(const Best& a, const Best& b) {
  if (ranks_above(a.value, b.value)) return a;
  if (ranks_above(b.value, a.value)) return b;
  return a.index <= b.index ? a : b;
}

__device__ __forceinline__ Best warp_best(Best best) {
  for (int mask = 16; mask > 0; mask /= 2) {
    const Best other{__shfl_xor_sync(0xFFFFFFFF, best.value, mask), __shfl_xor_sync(0xFFFFFFFF, best.index, mask)};
    best = better(best, other);
  }
  return best;
}

/// vectors: how many groups of 4 logits the aligned path may read of a row; 0 where rows are not aligned.
__global__ void __launch_bounds__(kThreads)
    sample_kernel(const float* logits, std::int64_t vocab, std::int64_t vectors, std::int64_t* ids) {
  __shared__ float values[32];
  __shared__ std::int64_t indices[32];
  const float* row = logits + blockIdx.x * vocab;
  const auto thread = static_cast<std::int64_t>(threadIdx.x), threads = static_cast<std::int64_t>(blockDim.x);
  Best best{row[0], 0};  // an element of the row: what a thread without elements has
  for (std::int64_t i = thread; i < vectors; i += threads) {
    const Vector<float, 4> v = load<4>(row + 4 * i);
#pragma unroll
    for (int j = 0; j < 4; ++j) best = better(best, {v.item[j], 4 * i + j});
  }
  for (std::int64_t i = 4 * vectors + thread; i < vocab; i += threads) best = better(best, {row[i], i});
  best = warp_best(best);
  if (lane_index() == 0) values[warp_index()] = best.value, indices[warp_index()] = best.index;
  __syncthreads();
  if (warp_index() != 0) return;
  best = warp_best({values[lane_index()], indices[lane_index()]});
  if (lane_index() == 0) ids[blockIdx.x] = best.index;
}

}  // namespace

void sample(const float* logits, std::int64_t rows, std::int64_t vocab, std::int64_t* ids, Stream stream) {
  const std::int64_t vectors = aligned(16, logits) && vocab % 4 == 0 ? vocab / 4 : 0;
  launch("sample", sample_kernel, static_cast<unsigned>(rows), kThreads, 0, stream, logits, vocab, vectors, ids);
}

}  // namespace fp8ref::cuda
