// SPDX-License-Identifier: Apache-2.0
// An array of which nobody may read the beginning: a kernel that does ends the program.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>
#include <vector>

#include "compare.h"

namespace fp8ref::test {

/// A copy whose first `hidden` elements lie in pages without access, but for the last of them, which share a page with
/// what follows. It begins at the begin of a page.
template <class T>
class Hidden {
 public:
  Hidden(const std::vector<T>& values, std::int64_t hidden) : bytes_(values.size() * sizeof(T)) {
    data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_ == MAP_FAILED) throw std::runtime_error("mmap");
    std::memcpy(data_, values.data(), bytes_);
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    if (mprotect(data_, static_cast<std::size_t>(hidden) * sizeof(T) / page * page, PROT_NONE) != 0) {
      throw std::runtime_error("mprotect");
    }
  }
  ~Hidden() { munmap(data_, bytes_); }
  Hidden(const Hidden&) = delete;
  Hidden& operator=(const Hidden&) = delete;

  const T* data() const { return static_cast<const T*>(data_); }

 private:
  std::size_t bytes_;
  void* data_;
};

}  // namespace fp8ref::test
