// SPDX-License-Identifier: Apache-2.0
// The run kernel of attention_unit.cu: 16 rows a warp, blocks of 128 keys in shared memory, both products on the tensor
// cores of an sm_90, whose 16-bit step is the unit's. Internal.
#pragma once

#include <cstdint>

#include "cuda/attention_unit.h"
#include "cuda/attention_weight.h"
#include "cuda/device.h"

namespace fp8ref::cuda {

inline constexpr int kRowsOfWarp = 16;
inline constexpr std::uint32_t kTwoOnes = 0x3F803F80;  // bf16

/// Rows of keys or values in shared memory: 16 bytes more than they need, so that neighbours begin in other banks.
template <int d>
inline constexpr int kRowStride = d + 8;

/// Bytes of the thresholds, keys and values.
template <int d>
inline constexpr std::size_t kRunShared =
    128 * sizeof(std::uint32_t) + 2 * kAttentionBlock * kRowStride<d> * sizeof(bf16);

/// The fragment of a row pair of one lane: rows g and g + 8 of its warp.
struct RowPair {
  std::int64_t row[2];                // of the kv head
  std::int64_t first[2], visible[2];  // 0 for what is no row
};

/// A block of 128 keys or values, from global to shared; rows past the last key are zero.
template <int d>
__device__ __forceinline__ void load_block(const AttentionRuns& p, const bf16* from, std::int64_t kv_head,
                                           std::int64_t first, bf16* to) {
  constexpr int kPieces = d / 8;  // of 16 bytes in a row
  for (int i = static_cast<int>(threadIdx.x); i < kAttentionBlock * kPieces; i += static_cast<int>(blockDim.x)) {
    const int key = i / kPieces, piece = i % kPieces;
    bf16* place = to + key * kRowStride<d> + 8 * piece;
    if (first + key < p.args.kv_len) {
      copy_async(place, from + p.key_element(kv_head, first + key) + 8 * piece);
    } else {
      *reinterpret_cast<uint4*>(place) = uint4{0, 0, 0, 0};
    }
  }
  commit_copies();
}

__device__ __forceinline__ std::uint32_t two(const bf16* x) { return *reinterpret_cast<const std::uint32_t*>(x); }
__device__ __forceinline__ std::uint32_t pack(bf16 low, bf16 high) {
  return low.bits | static_cast<std::uint32_t>(high.bits) << 16;
}

template <int d>
class UnitRun {
 public:
  __device__ UnitRun(const AttentionRuns& p, std::int64_t kv_head, const RowPair& rows, const std::uint32_t* thresholds)
      : p_(p), rows_(rows), thresholds_(thresholds) {
    const int t = lane_index() % 4;
#pragma unroll
    for (int s = 0; s < d / 16; ++s) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool real = rows.visible[i % 2] > 0;
        q_[s][i] = real ? two(p.args.q + p.element(kv_head, rows.row[i % 2]) + 16 * s + 2 * t + 8 * (i / 2)) : 0;
      }
    }
#pragma unroll
    for (int j = 0; j < d / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) n_[j][i] = 0;
    }
  }

  /// Weights of the block that begins at key `first`, from keys in shared memory: fragments of a of 16 keys each.
  __device__ void weigh(const bf16* keys, std::int64_t first) {
    float scores[kAttentionBlock / 8][4];
    const int g = lane_index() / 4, t = lane_index() % 4;
    float largest[2] = {-INFINITY, -INFINITY};
    int own[2];         // the lane's first key, counted from the first that the row sees in this block
    unsigned count[2];  // how many it sees
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int seen = in_block(rows_.first[r] - first);
      own[r] = 2 * t - seen;
      count[r] = static_cast<unsigned>(in_block(rows_.visible[r] - first) - seen);
    }
#pragma unroll
    for (int j = 0; j < kAttentionBlock / 8; ++j) {
      float (&s)[4] = scores[j];
      s[0] = s[1] = s[2] = s[3] = 0;
      const bf16* key = keys + (8 * j + g) * kRowStride<d> + 2 * t;
#pragma unroll
      for (int step = 0; step < d / 16; ++step) {
        mma_bf16(s, q_[step], {two(key + 16 * step), two(key + 16 * step + 8)});
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool seen = static_cast<unsigned>(8 * j + i % 2 + own[i / 2]) < count[i / 2];
        s[i] = seen ? mul32(p_.args.log2e_scale, s[i]) : -INFINITY;
        broken_[i / 2] = broken_[i / 2] || !(s[i] < INFINITY);  // NaN or +Inf
        largest[i / 2] = s[i] > largest[i / 2] ? s[i] : largest[i / 2];
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {  // the lanes of a row are neighbours
      for (int mask = 1; mask < 4; mask *= 2) {
        const float other = __shfl_xor_sync(0xFFFFFFFF, largest[r], mask);
        largest[r] = other > largest[r] ? other : largest[r];
      }
      block_top_[r] = attention_top(largest[r]);
    }
#pragma unroll
    for (int j = 0; j < kAttentionBlock / 8; ++j) {
      weights_[j / 2][j % 2 * 2] = pack(weight(scores[j][0], 0), weight(scores[j][1], 0));
      weights_[j / 2][j % 2 * 2 + 1] = pack(weight(scores[j][2], 1), weight(scores[j][3], 1));
    }
  }

  /// The block's sums over values in shared memory, merged into the state. [ATTN-UNIT-MERGE]
  __device__ void add(const bf16* values) {
    float own[2], blocks[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float top = merged_top(top_[r], block_top_[r]);
      own[r] = attention_merge_factor(top_[r], top);
      blocks[r] = attention_merge_factor(block_top_[r], top);
      top_[r] = top;
    }
    float sum[4] = {0, 0, 0, 0};
#pragma unroll
    for (int s = 0; s < kAttentionBlock / 16; ++s) mma_bf16(sum, weights_[s], {kTwoOnes, kTwoOnes});
#pragma unroll
    for (int r = 0; r < 2; ++r) l_[r] = attention_merge(l_[r], own[r], sum[2 * r], blocks[r]);
    const int lane = lane_index();
    const bf16* corner = values + (lane % 16) * kRowStride<d> + lane / 16 * 8;
#pragma unroll
    for (int j = 0; j < d / 16; ++j) {  // two tiles of eight columns
      float n[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
#pragma unroll
      for (int s = 0; s < kAttentionBlock / 16; ++s) {
        std::uint32_t v[4];
        load_transposed(v, corner + 16 * s * kRowStride<d> + 16 * j);
        mma_bf16(n[0], weights_[s], {v[0], v[1]});
        mma_bf16(n[1], weights_[s], {v[2], v[3]});
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float x = n[i / 4][i % 4];
        special_ = special_ || !(x > -INFINITY && x < INFINITY);
        float& state = n_[2 * j + i / 4][i % 4];
        state = attention_merge(state, own[i % 4 / 2], x, blocks[i % 4 / 2]);
      }
    }
  }

  /// A sum of some block was NaN or infinite: perhaps through a v that its row does not see.
  __device__ bool special() const { return special_; }

  __device__ void store(std::int64_t kv_head, std::int64_t run) const {
    const int t = lane_index() % 4;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      // Each lane saw a quarter of the keys.
      const bool broken = any_of_row(broken_[r]);
      if (rows_.visible[r] == 0) continue;
      float* state = p_.state(kv_head, rows_.row[r], run);
      if (t == 0) {
        state[0] = broken ? INFINITY : top_[r];
        state[1] = l_[r];
      }
#pragma unroll
      for (int j = 0; j < d / 8; ++j) {
        state[2 + 8 * j + 2 * t] = n_[j][2 * r];
        state[3 + 8 * j + 2 * t] = n_[j][2 * r + 1];
      }
    }
  }

 private:
  /// The nearest place of a block to a key, counted from the block's first.
  __device__ static int in_block(std::int64_t key) {
    return static_cast<int>(key < 0 ? 0 : key < kAttentionBlock ? key : kAttentionBlock);
  }
  __device__ bf16 weight(float t, int r) const {
    if (!(t > -INFINITY && t < INFINITY)) return bf16{0};
    return attention_unit_weight(weight_of_finite(t, thresholds_), block_top_[r]);
  }
  __device__ static bool any_of_row(bool value) {
    const unsigned votes = __ballot_sync(0xFFFFFFFF, value);
    return (votes >> (lane_index() / 4 * 4) & 15u) != 0;
  }

  const AttentionRuns& p_;
  const RowPair rows_;
  const std::uint32_t* const thresholds_;
  std::uint32_t q_[d / 16][4], weights_[kAttentionBlock / 16][4];
  float n_[d / 8][4];
  float top_[2] = {-INFINITY, -INFINITY}, block_top_[2] = {-INFINITY, -INFINITY}, l_[2] = {0, 0};
  bool broken_[2] = {false, false}, special_ = false;
};

/// Grid: tiles of rows, runs of a tile, kv heads. A tile whose sums are special leaves a mark for the scalar kernel.
template <int d>
__global__ void __launch_bounds__(256) unit_run_kernel(AttentionRuns p, int* special) {
  auto* thresholds = shared_memory<std::uint32_t>();
  auto* keys = reinterpret_cast<bf16*>(thresholds + 128);
  bf16* values = keys + kAttentionBlock * kRowStride<d>;
  const std::int64_t begin = blockIdx.x * p.tile_rows, run = blockIdx.y, kv_head = blockIdx.z;
  for (int i = static_cast<int>(threadIdx.x); i < 128; i += static_cast<int>(blockDim.x)) {
    thresholds[i] = weight_threshold(i);
  }
  RowPair rows;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    rows.row[r] = begin + warp_index() * kRowsOfWarp + lane_index() / 4 + 8 * r;
    const bool there = rows.row[r] < p.rows;
    rows.first[r] = there ? p.first_visible(rows.row[r]) : 0;
    rows.visible[r] = there ? p.visible(rows.row[r]) : 0;
  }
  const std::int64_t last = begin + p.tile_rows < p.rows ? begin + p.tile_rows : p.rows;
  const std::int64_t run_begin = (p.first_run(begin) + run) * p.run_keys(), run_end = run_begin + p.run_keys();
  const std::int64_t first_seen = p.first_visible(begin) / kAttentionBlock * kAttentionBlock;
  const std::int64_t from = first_seen > run_begin ? first_seen : run_begin, seen = p.visible(last - 1);
  const std::int64_t to = run_end < seen ? run_end : seen;
  if (from >= to) return;
  UnitRun<d> state(p, kv_head, rows, thresholds);
  load_block<d>(p, p.args.k, kv_head, from, keys);
  for (std::int64_t first = from; first < to; first += kAttentionBlock) {
    load_block<d>(p, p.args.v, kv_head, first, values);
    wait_copies<1>();
    __syncthreads();
    state.weigh(keys, first);
    __syncthreads();  // all are done with these keys
    if (first + kAttentionBlock < to)
      load_block<d>(p, p.args.k, kv_head, first + kAttentionBlock, keys);
    else
      commit_copies();
    wait_copies<1>();
    __syncthreads();
    state.add(values);
    __syncthreads();
  }
  if (state.special()) special[(kv_head * gridDim.y + run) * gridDim.x + blockIdx.x] = 1;
  state.store(kv_head, run);
}

}  // namespace fp8ref::cuda
