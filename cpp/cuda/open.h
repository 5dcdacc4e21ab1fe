// SPDX-License-Identifier: Apache-2.0
// Outputs that a fast kernel cannot prove, left open for the exact kernel after it; both are always queued, so nothing
// waits for the host. An open output is marked in the array itself, by a NaN that is no result [NAN-CANONICAL], and the
// first ones are listed too: what is usual, no open output, is found by one number, and any number needs no more
// memory. Internal.
#pragma once

#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/workspace.h"

namespace fp8ref::cuda {

inline constexpr std::uint16_t kOpenMark = 0x7FFF;
inline constexpr unsigned long long kOpenListed = 1 << 10;

struct OpenOutputs {
  unsigned long long* count;
  unsigned long long* index;
};

/// The memory of a list, empty.
class OpenList {
 public:
  OpenList(const char* op, cudaStream_t stream) : memory_(op, 1 + static_cast<std::int64_t>(kOpenListed), stream) {
    check(cudaMemsetAsync(memory_.get(), 0, sizeof(unsigned long long), stream), op);
  }
  OpenOutputs get() const { return {memory_.get(), memory_.get() + 1}; }

 private:
  Workspace<unsigned long long> memory_;
};

__device__ __forceinline__ void leave_open(const OpenOutputs& open, bf16* out, std::int64_t index) {
  out[index] = bf16{kOpenMark};
  const unsigned long long place = atomicAdd(open.count, 1ull);
  if (place < kOpenListed) open.index[place] = static_cast<unsigned long long>(index);
}

/// close(index) for every step-th open output of out (total): by a team of threads that run this together. close has a
/// barrier of the team before it writes.
template <class Close>
__device__ void for_each_open(const OpenOutputs& open, const bf16* out, std::int64_t total, std::int64_t first,
                              std::int64_t step, const Close& close) {
  const unsigned long long count = *open.count;
  if (count <= kOpenListed) {
    for (std::int64_t i = first; i < static_cast<std::int64_t>(count); i += step) {
      close(static_cast<std::int64_t>(open.index[i]));
    }
    return;
  }
  for (std::int64_t i = first; i < total; i += step) {
    if (out[i].bits == kOpenMark) close(i);
  }
}

}  // namespace fp8ref::cuda
