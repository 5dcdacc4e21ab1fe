// SPDX-License-Identifier: Apache-2.0
// Temporary device memory, in the order of a stream: it may be given back while kernels that use it are still queued.
// Internal.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "cuda/launch.h"

namespace fp8ref::cuda {

/// A piece of memory that the workspaces of one thread are cut from while an ArenaScope of it lives: for those who
/// queue all their work on one stream, so that the next operation may use what the one before it is done with.
class Arena {
 public:
  Arena() = default;
  ~Arena() { cudaFree(data_); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// The next `bytes`, or nullptr where there is no room; what was asked for is counted in any case.
  void* take(std::size_t bytes) {
    const std::size_t begin = used_;
    used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    most_ = used_ > most_ ? used_ : most_;
    return used_ <= size_ ? data_ + begin : nullptr;
  }
  std::size_t mark() const { return used_; }
  void back_to(std::size_t mark) { used_ = mark; }

  /// Makes room for the most that was ever asked for at once, and half as much again. Waits for the device.
  void grow() {
    if (most_ <= size_) return;
    check(cudaDeviceSynchronize(), "workspace");
    check(cudaFree(data_), "workspace");
    data_ = nullptr;
    size_ = 0;
    const std::size_t size = most_ + most_ / 2;
    check(cudaMalloc(reinterpret_cast<void**>(&data_), size), "workspace");
    size_ = size;
  }

 private:
  static constexpr std::size_t kAlignment = 256;
  unsigned char* data_ = nullptr;
  std::size_t size_ = 0, used_ = 0, most_ = 0;
};

/// The arena of this thread, if it has one now.
inline Arena*& current_arena() {
  thread_local Arena* arena = nullptr;
  return arena;
}

class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : before_(current_arena()) { current_arena() = &arena; }
  ~ArenaScope() { current_arena() = before_; }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena* before_;
};

/// Memory for `count` elements until the end of this object's life, from the arena, else from the stream's pool.
template <class T>
class Workspace {
 public:
  Workspace(const char* op, std::int64_t count, cudaStream_t stream) : stream_(stream), arena_(current_arena()) {
    const auto bytes = static_cast<std::size_t>(count < 1 ? 1 : count) * sizeof(T);
    if (arena_ != nullptr) {
      mark_ = arena_->mark();
      data_ = static_cast<T*>(arena_->take(bytes));
      if (data_ != nullptr) return;
    }
    pooled_ = true;
    const cudaError_t error = cudaMallocAsync(reinterpret_cast<void**>(&data_), bytes, stream);
    if (error != cudaSuccess) {
      if (arena_ != nullptr) arena_->back_to(mark_);
      check(error, (std::string(op) + ": " + std::to_string(bytes) + " bytes").c_str());
    }
  }
  ~Workspace() {
    if (pooled_) cudaFreeAsync(data_, stream_);
    if (arena_ != nullptr) arena_->back_to(mark_);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  T* get() const { return data_; }

 private:
  T* data_ = nullptr;
  cudaStream_t stream_;
  Arena* arena_;
  std::size_t mark_ = 0;
  bool pooled_ = false;
};

}  // namespace fp8ref::cuda
