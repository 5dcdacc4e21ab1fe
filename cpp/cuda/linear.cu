// SPDX-License-Identifier: Apache-2.0
// linear on a CUDA device (spec/linear.md): float64 dots with a certificate per output (linear_few.cu for few rows of
// x, linear_tile.cu), then the outputs that stay open, exactly. The overload with a unit is linear_unit.cu.
#include "cuda/linear.h"
#include "fp8ref/cuda.h"

namespace fp8ref::cuda {
namespace {

constexpr int kFactThreads = 128, kExactThreads = 128;

/// A block per row. The norm is inflated beyond what k roundings of a sum of squares, in any order, can lose.
__global__ void row_facts_kernel(const bf16* rows, std::int64_t n, std::int64_t k, RowFacts* facts) {
  __shared__ double sums[32];
  __shared__ int extremes[32];
  const auto larger = [](int a, int b) { return a > b ? a : b; };
  for (std::int64_t row = blockIdx.x; row < n; row += gridDim.x) {
    int largest = 0, highest = -(1 << 20);  // magnitude bits; minus the exponent of the lowest set bit
    double squares = 0;
    for (std::int64_t i = threadIdx.x; i < k; i += blockDim.x) {
      const bf16 x = rows[row * k + i];
      const double value = widen(x);
      squares = fma64(value, value, squares);
      largest = larger(largest, x.bits & 0x7FFF);
      const Bf16Parts p = parts(x);
      if (p.magnitude != 0) highest = larger(highest, -(p.exponent + __ffs(static_cast<int>(p.magnitude)) - 1));
    }
    squares = block_reduce(squares, sums, [](double a, double b) { return a + b; });
    largest = block_reduce(largest, extremes, larger);
    highest = block_reduce(highest, extremes, larger);
    if (threadIdx.x != 0) continue;
    const double norm = sqrt64(squares) * (1 + 0x1p-40 + static_cast<double>(k) * 0x1p-52);
    facts[row] = {norm, largest == 0 ? 0 : -highest, largest < 0x7F80};
  }
}

/// The sum of all lanes, in every lane.
__device__ ExactDot warp_sum(ExactDot dot) {
  constexpr int kWords = sizeof(ExactDot) / sizeof(unsigned long long);
  static_assert(sizeof(ExactDot) == kWords * sizeof(unsigned long long));
  for (int mask = 16; mask > 0; mask /= 2) {
    unsigned long long words[kWords];
    memcpy(words, &dot, sizeof dot);
    for (int i = 0; i < kWords; ++i) words[i] = __shfl_xor_sync(0xFFFFFFFF, words[i], mask);
    ExactDot other;
    memcpy(&other, words, sizeof dot);
    dot.add(other);
  }
  return dot;
}

/// A warp per open output: each lane sums a part of k exactly.
__global__ void linear_exact_kernel(LinearProblem p) {
  const std::int64_t warps = static_cast<std::int64_t>(gridDim.x) * (kExactThreads / 32);
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * (kExactThreads / 32) + warp_index();
  for_each_open(p.open, p.out, p.m * p.n, first, warps, [&](std::int64_t index) {
    const std::int64_t i = index / p.n, j = index % p.n;
    ExactDot dot;
    for (std::int64_t c = lane_index(); c < p.k && !dot.nan(); c += 32) {
      dot.add_product(p.x[i * p.k + c], p.w[j * p.k + c]);
    }
    dot = warp_sum(dot);
    if (p.bias != nullptr) dot.add(p.bias[j]);
    if (lane_index() == 0) p.out[index] = rnbf(dot.rn32());
  });
}

}  // namespace

void linear_row_facts(const bf16* rows, std::int64_t n, std::int64_t k, RowFacts* facts, Stream stream) {
  launch("linear", row_facts_kernel, blocks_for(n, 1), kFactThreads, 0, stream, rows, n, k, facts);
}

void linear(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
            const RowFacts* w_facts, bf16* out, Stream stream) {
  if (m == 0 || n == 0) return;
  const Workspace<RowFacts> facts("linear", m + (w_facts == nullptr ? n : 0), stream);
  linear_row_facts(x, m, k, facts.get(), stream);
  if (w_facts == nullptr) {
    linear_row_facts(w, n, k, facts.get() + m, stream);
    w_facts = facts.get() + m;
  }
  const OpenList open("linear", stream);
  const LinearProblem problem{x, w, m, n, k, bias, facts.get(), w_facts, out, open.get()};
  if (m <= kLinearFewRows) {
    linear_few(problem, stream);
  } else {
    linear_tile(problem, stream);
  }
  launch("linear", linear_exact_kernel, 2 * device_facts().multiprocessors, kExactThreads, 0, stream, problem);
}

}  // namespace fp8ref::cuda
