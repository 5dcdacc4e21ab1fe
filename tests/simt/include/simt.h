// SPDX-License-Identifier: Apache-2.0
// A SIMT machine on a CPU: every thread of a block is a fiber, blocks run one after another. A fiber runs until it
// comes to a barrier, then the next one does; a barrier opens when all threads of its warp or block have come to the
// same one. So every index, barrier and exchange of a kernel is carried out as written. Threads that wait at different
// barriers, or that leave while others wait, are an error: on a device that is a hang or worse. It does not find races
// between threads that happen to run in a harmless order; the order can be reversed (set_order).
#pragma once

#include <cstddef>
#include <functional>

#include "cuda_runtime_api.h"

namespace fp8ref::simt {

struct Self {
  dim3 thread, block, block_dim, grid_dim;
  int linear;  // number of the thread in its block
};
Self& self();
inline int lane() { return self().linear % 32; }

void warp_barrier();
void block_barrier();
int block_or(int predicate);

/// Room for one value of every lane; the 32 values are valid until the next but one exchange of the warp.
constexpr std::size_t kLargestValue = 128;
void* warp_slots();     // of this exchange
void warp_exchanged();  // barrier, then the next exchange has the other slots
template <class T>
const T* warp_values(const T& mine) {
  static_assert(sizeof(T) <= kLargestValue);
  T* slots = static_cast<T*>(warp_slots());
  slots[lane()] = mine;
  warp_exchanged();
  return slots;
}

/// Asynchronous copies of 16 bytes: they happen when the thread waits for them, not before.
void copy_later(void* to, const void* from);
void commit_copies();
void wait_copies(int most);  // until all groups but the last `most` are done

/// Dynamic shared memory of the running block; filled with 0xFF before each block.
void* shared_memory();

enum class Order { ascending, descending };
void set_order(Order order);

/// Runs body in every thread of every block. The first exception of a thread ends the launch and is rethrown.
void run(dim3 grid, dim3 block, std::size_t shared, const std::function<void()>& body);

}  // namespace fp8ref::simt
