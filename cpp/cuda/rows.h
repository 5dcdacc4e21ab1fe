// SPDX-License-Identifier: Apache-2.0
// Rows that a team of threads keeps in registers: a warp for short rows, a block for others. Internal.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "cuda/launch.h"

namespace fp8ref::cuda {

enum class Team { warp, block };

inline constexpr int kHeld = 4;           // vectors of a row that a thread keeps
inline constexpr int kWarpsPerBlock = 4;  // where a warp has a row
inline constexpr int kLargestTeam = 1024;

/// Whether rows of so many vectors fit.
inline bool row_fits(std::int64_t vectors) { return vectors <= kHeld * kLargestTeam; }

struct RowPlan {
  Team team;
  unsigned grid, threads;
};
inline RowPlan plan_rows(std::int64_t rows, std::int64_t vectors) {
  if (vectors <= kHeld * 32) {
    return {Team::warp, static_cast<unsigned>((rows + kWarpsPerBlock - 1) / kWarpsPerBlock), 32 * kWarpsPerBlock};
  }
  const auto threads = static_cast<unsigned>((vectors + kHeld - 1) / kHeld);
  return {Team::block, static_cast<unsigned>(rows), (threads + 31) / 32 * 32};
}

/// The row of this thread, its number in the team, and the size of the team.
template <Team team>
__device__ __forceinline__ std::int64_t team_row() {
  if constexpr (team == Team::block) return blockIdx.x;
  return static_cast<std::int64_t>(blockIdx.x) * kWarpsPerBlock + warp_index();
}
template <Team team>
__device__ __forceinline__ int team_thread() {
  return team == Team::warp ? lane_index() : static_cast<int>(threadIdx.x);
}
template <Team team>
__device__ __forceinline__ int team_threads() {
  return team == Team::warp ? 32 : static_cast<int>(blockDim.x);
}

/// of(combine(...) over the values of the team) in every thread. Of a block, one warp computes it: `of` may be long.
/// scratch: 33 values of each type in shared memory, used once between barriers of the block.
template <class T, class R>
struct Scratch {
  T partial[32];
  R result;
};
template <Team team, class T, class R, class Combine, class Of>
__device__ __forceinline__ R team_reduce(T value, Scratch<T, R>& scratch, T neutral, const Combine& combine,
                                         const Of& of) {
  value = warp_reduce(value, combine);
  if constexpr (team == Team::warp) {
    __syncwarp();  // `of` may read what the warp has written, and the warp may then write what `of` reads
    const R result = of(value);
    __syncwarp();
    return result;
  }
  if (lane_index() == 0) scratch.partial[warp_index()] = value;
  __syncthreads();
  if (warp_index() == 0) {
    const int warps = static_cast<int>(blockDim.x / 32);
    value = warp_reduce(lane_index() < warps ? scratch.partial[lane_index()] : neutral, combine);
    const R result = of(value);
    if (lane_index() == 0) scratch.result = result;
  }
  __syncthreads();
  return scratch.result;
}

/// body(j, v) for the vectors v of this thread, j < kHeld unrolled.
template <Team team, class Body>
__device__ __forceinline__ void each_held(int vectors, const Body& body) {
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int v = team_thread<team>() + j * team_threads<team>();
    if (v < vectors) body(j, v);
  }
}

}  // namespace fp8ref::cuda
