// SPDX-License-Identifier: Apache-2.0
// attention a row at a time, by a block that keeps the row's weights: any problem (attention_rows), and the outputs
// that other kernels leave open (attention_close), decided exactly by all threads of a block.
#include <algorithm>

#include "cuda/attention.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 128;
constexpr std::int64_t kRoom = std::int64_t{32} << 20;  // bytes for weights
constexpr int kWords = 6;                               // of the integers that decide an output

struct Shared {
  unsigned long long words[32 * kWords];
  double doubles[32];
  int integers[32];
  float floats[32];
};

/// A block that works out one output. [ATTN-EXACT]
struct BlockTeam {
  Shared* shared;

  __device__ std::int64_t first() const { return threadIdx.x; }
  __device__ std::int64_t step() const { return blockDim.x; }
  __device__ float largest(float x) const {
    return block_reduce(x, shared->floats, [](float a, float b) { return a > b ? a : b; });
  }
  __device__ int largest(int x) const {
    return block_reduce(x, shared->integers, [](int a, int b) { return a > b ? a : b; });
  }
  __device__ double sum(double x) const {
    return block_reduce(x, shared->doubles, [](double a, double b) { return a + b; });
  }
  __device__ Wide<kWords> sum(Wide<kWords> x) const {
    const bool any = __any_sync(0xFFFFFFFF, !x.zero());
    for (int mask = 16; any && mask > 0; mask /= 2) {
      Wide<kWords> other;
      for (int i = 0; i < kWords; ++i) {
        other.limb[i] = __shfl_xor_sync(0xFFFFFFFF, static_cast<unsigned long long>(x.limb[i]), mask);
      }
      x.add(other);
    }
    __syncthreads();
    for (int i = 0; i < kWords && lane_index() == 0; ++i) shared->words[warp_index() * kWords + i] = x.limb[i];
    __syncthreads();
    Wide<kWords> all;
    for (int warp = 0; warp < kThreads / 32; ++warp) {
      Wide<kWords> part;
      for (int i = 0; i < kWords; ++i) part.limb[i] = shared->words[warp * kWords + i];
      all.add(part);
    }
    return all;
  }
};

/// A row in hand: `count` keys from the first that it sees on, and the room for their weights.
struct Row {
  const AttentionArgs& args;
  std::int64_t kv_head, offset, first, count;
  float* exponent;
  std::uint8_t* significand;

  __device__ std::int64_t stride() const { return args.kv_heads * args.head_dim; }
  __device__ const bf16* keys() const { return args.k + first * stride() + kv_head * args.head_dim; }
  __device__ const bf16* values() const { return args.v + first * stride() + kv_head * args.head_dim; }
  __device__ AttentionColumn column(std::int64_t i) const {
    return {exponent, significand, values() + i, stride(), count};
  }
};

/// The weights of a row, a thread for each key; returns the largest exponent.
__device__ float weigh_row(const Row& row, const BlockTeam& team) {
  const std::int64_t d = row.args.head_dim;
  const bf16* const q = row.args.q + row.offset;
  float largest = -INFINITY;
  for (std::int64_t j = team.first(); j < row.count; j += team.step()) {
    const bf16* const k = row.keys() + j * row.stride();
    double dot = 0, squares = 0;
    int magnitude = 0;
    for (std::int64_t i = 0; i < d; ++i) {
      const double x = widen(q[i]);
      dot = fma64(x, widen(k[i]), dot);
      squares = fma64(x, x, squares);
      magnitude = magnitude > (k[i].bits & 0x7FFF) ? magnitude : k[i].bits & 0x7FFF;
    }
    const double bound = widen(bf16{static_cast<std::uint16_t>(magnitude)});
    const Weight weight = attention_weigh(dot, attention_row_error(squares, d) * bound, q, k, d, row.args.log2e_scale);
    row.exponent[j] = weight.exponent;
    row.significand[j] = static_cast<std::uint8_t>(weight.significand);
    largest = largest > weight.exponent ? largest : weight.exponent;
  }
  return team.largest(largest);  // a barrier: all weights are there
}

/// What one thread sums of one column: numerator, and the largest magnitude among the terms.
struct ColumnSum {
  double numerator = 0;
  int magnitude = 0;

  __device__ void add(double weight, bf16 v) {
    magnitude = magnitude > (v.bits & 0x7FFF) ? magnitude : v.bits & 0x7FFF;
    numerator = fma64(weight, is_finite(v) ? widen(v) : 0.0, numerator);
  }
};

/// One output that no certificate proved, by the block; a broken row has none.
__device__ bf16 close_output(const Row& row, std::int64_t i, const BlockTeam& team) {
  const float largest = weigh_row(row, team);
  const AttentionColumn column = row.column(i);
  ColumnSum sum;
  double denominator = 0;
  for (std::int64_t j = team.first(); j < column.count; j += team.step()) {
    if (column.significand[j] == 0) continue;
    const double weight = attention_relative(column.exponent[j], column.significand[j], largest);
    sum.add(weight, column.value(j));
    denominator += weight;
  }
  const bf16 magnitude{static_cast<std::uint16_t>(team.largest(sum.magnitude))};
  const double n = team.sum(sum.numerator), d = team.sum(denominator);
  if (largest == -INFINITY || !is_finite(magnitude)) return attention_output(column, team);
  const CertifiedOutput result = attention_within(n, d, widen(magnitude), column.count);
  return attention_between(column, ordinal(result.low), ordinal(result.high), team);
}

__global__ void __launch_bounds__(kThreads)
    attention_close_kernel(AttentionArgs args, OpenOutputs open, float* exponents, std::uint8_t* significands,
                           std::int64_t room) {
  __shared__ Shared shared;
  const BlockTeam team{&shared};
  for_each_open(open, args.out, args.q_len * args.q_heads * args.head_dim, blockIdx.x, gridDim.x,
                [&](std::int64_t index) {
                  const std::int64_t head = index / args.head_dim % args.q_heads;
                  const std::int64_t query = index / args.head_dim / args.q_heads, r = query * args.group();
                  const Row row{args,
                                head / args.group(),
                                index - index % args.head_dim,
                                args.first_visible(r),
                                args.visible(r) - args.first_visible(r),
                                exponents + blockIdx.x * room,
                                significands + blockIdx.x * room};
                  const bf16 value = close_output(row, index % args.head_dim, team);
                  __syncthreads();
                  if (threadIdx.x == 0) args.out[index] = value;
                });
}

/// Rows of any head_dim: all weights, then a thread for each column.
__global__ void __launch_bounds__(kThreads)
    attention_rows_kernel(AttentionRows rows, OpenOutputs open, float* exponents, std::uint8_t* significands,
                          std::int64_t room) {
  __shared__ Shared shared;
  const BlockTeam team{&shared};
  const AttentionArgs& args = rows.args;
  for (std::int64_t index = blockIdx.x; index < rows.count(); index += gridDim.x) {
    const std::int64_t kv_head = index / rows.per_kv_head(), r = index % rows.per_kv_head();
    const Row row{args,
                  kv_head,
                  rows.offset(kv_head, r),
                  rows.first_visible(r),
                  rows.visible(r) - rows.first_visible(r),
                  exponents + blockIdx.x * room,
                  significands + blockIdx.x * room};
    const float largest = weigh_row(row, team);
    double part = 0;
    for (std::int64_t j = team.first(); j < row.count; j += team.step()) {
      part += attention_relative(row.exponent[j], row.significand[j], largest);
    }
    const double denominator = team.sum(part);
    for (std::int64_t i = threadIdx.x; i < args.head_dim; i += blockDim.x) {
      ColumnSum sum;
      for (std::int64_t j = 0; j < row.count; ++j) {
        if (row.significand[j] == 0) continue;
        sum.add(attention_relative(row.exponent[j], row.significand[j], largest), row.values()[j * row.stride() + i]);
      }
      attention_finish({largest, denominator}, sum.numerator, sum.magnitude, row.count, open, args.out, row.offset + i);
    }
    __syncthreads();  // the weights may be overwritten
  }
}

/// Memory for the weights of one row per block; its size does not change with every key, so that graphs can be kept.
struct RowWeights {
  std::int64_t room, blocks;
  Workspace<std::uint8_t> memory;

  RowWeights(std::int64_t keys, std::int64_t most, cudaStream_t stream)
      : room(std::int64_t{1} << bit_length(static_cast<std::uint64_t>(keys < 1024 ? 1023 : keys - 1))),
        blocks(std::clamp<std::int64_t>(kRoom / (room * kBytes), 1, most)),
        memory("attention", blocks * room * kBytes, stream) {}

  static constexpr std::int64_t kBytes = sizeof(float) + 1;
  float* exponents() const { return reinterpret_cast<float*>(memory.get()); }
  std::uint8_t* significands() const { return memory.get() + blocks * room * static_cast<std::int64_t>(sizeof(float)); }
};

}  // namespace

void attention_rows(const AttentionRows& rows, const OpenOutputs& open, cudaStream_t stream) {
  const RowWeights weights(attention_most_keys(rows.args, 1), 8 * device_facts().multiprocessors, stream);
  launch("attention", attention_rows_kernel, blocks_for(rows.count(), 1, weights.blocks), kThreads, 0, stream, rows,
         open, weights.exponents(), weights.significands(), weights.room);
}

void attention_close(const AttentionArgs& args, const OpenOutputs& open, cudaStream_t stream) {
  const RowWeights weights(attention_most_keys(args, 1), 2 * device_facts().multiprocessors, stream);
  launch("attention", attention_close_kernel, static_cast<unsigned>(weights.blocks), kThreads, 0, stream, args, open,
         weights.exponents(), weights.significands(), weights.room);
}

}  // namespace fp8ref::cuda
