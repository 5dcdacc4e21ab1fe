// SPDX-License-Identifier: Apache-2.0
// A stable sort by digits of 8 bits, the last digit first: items go to where those of lower digits, and those of the
// same digit before them, leave off. Places come from counts alone, so nothing depends on which thread is first.
// Internal.
#pragma once

#include <cstdint>

#include "cuda/device.h"

namespace fp8ref::cuda {

inline constexpr int kDigits = 256, kSortThreads = kDigits;  // a thread of a block for each digit
inline constexpr int kSortWarps = kSortThreads / 32;

struct SortShared {
  unsigned count[kSortWarps][kDigits];
  std::int64_t place[kSortWarps][kDigits];
  std::int64_t sums[kSortWarps];
};

/// The lanes of a warp whose item has the digit of this one, and how many of them come before it. No digit: kDigits.
struct Peers {
  int count, before;
  __device__ explicit Peers(int digit) {
    const unsigned lanes = __match_any_sync(0xFFFFFFFF, digit);
    count = __popc(lanes);
    before = __popc(lanes & ((1u << lane_index()) - 1));
  }
};

/// How many of the items begin .. end - 1 have this thread's digit. Items are read by their number.
template <class Digit>
__device__ unsigned count_digits(SortShared& shared, std::int64_t begin, std::int64_t end, const Digit& digit) {
  shared.count[0][threadIdx.x] = 0;
  __syncthreads();
  for (std::int64_t chunk = begin; chunk < end; chunk += kSortThreads) {
    const std::int64_t i = chunk + threadIdx.x;
    const int d = i < end ? digit(i) : kDigits;
    const Peers peers(d);
    if (d < kDigits && peers.before == 0) atomicAdd(&shared.count[0][d], static_cast<unsigned>(peers.count));
  }
  __syncthreads();
  return shared.count[0][threadIdx.x];
}

/// The sum of the values of all threads before this one.
__device__ inline std::int64_t sum_before(SortShared& shared, std::int64_t value) {
  std::int64_t sum = value;
  for (unsigned step = 1; step < 32; step *= 2) {
    const std::int64_t other = __shfl_up_sync(0xFFFFFFFF, sum, step);
    if (lane_index() >= static_cast<int>(step)) sum += other;
  }
  if (lane_index() == 31) shared.sums[warp_index()] = sum;
  __syncthreads();
  for (int warp = 0; warp < warp_index(); ++warp) sum += shared.sums[warp];
  return sum - value;
}

/// move(i, place) for the items begin .. end - 1 in their order. start: the place of the first of this thread's digit.
template <class Digit, class Move>
__device__ void move_items(SortShared& shared, std::int64_t begin, std::int64_t end, std::int64_t start,
                           const Digit& digit, const Move& move) {
  const int warp = warp_index();
  const auto thread = static_cast<int>(threadIdx.x);
  const auto digit_of = [&](std::int64_t i) { return i < end ? digit(i) : kDigits; };
  for (int w = 0; w < kSortWarps; ++w) shared.count[w][thread] = 0;
  __syncthreads();
  int next = digit_of(begin + thread);
  for (std::int64_t chunk = begin; chunk < end; chunk += kSortThreads) {
    const std::int64_t i = chunk + thread;
    const int d = next;
    next = digit_of(i + kSortThreads);
    const Peers peers(d);
    if (d < kDigits && peers.before == 0) shared.count[warp][d] = static_cast<unsigned>(peers.count);
    __syncthreads();
    for (int w = 0; w < kSortWarps; ++w) {
      shared.place[w][thread] = start;
      start += shared.count[w][thread];
      shared.count[w][thread] = 0;
    }
    __syncthreads();
    if (d < kDigits) move(i, shared.place[warp][d] + peers.before);
  }
}

}  // namespace fp8ref::cuda
