// SPDX-License-Identifier: Apache-2.0
// Shared by the bindings of fp8ref::cuda. Arrays come as addresses in device memory: the Python side
// (fp8ref/backends/cuda/) knows whose they are, checks shapes, and keeps them alive. All functions queue their work on
// a stream, given as its address, and release the GIL.
#pragma once

#include <cstdint>

#include "bind/bind.h"
#include "fp8ref/cuda.h"

namespace fp8ref::bind {

/// An address in device memory, of a stream, or 0 for an array that is not given.
using Address = std::uintptr_t;

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}
inline cuda::Stream stream_at(Address address) { return reinterpret_cast<cuda::Stream>(address); }

}  // namespace fp8ref::bind
