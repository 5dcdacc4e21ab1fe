// SPDX-License-Identifier: Apache-2.0
// What a binding needs besides the operations: memory, copies, devices, and numbers widened without rounding. Internal;
// all of it is in the order of a stream. No CUDA header, so that a C++ compiler takes it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fp8ref/cuda.h"

namespace fp8ref::cuda {

/// Memory of the device in use; throws DeviceError with op and size. release() may come while queued kernels use it.
void* allocate(const char* op, std::size_t bytes, Stream stream);
void release(void* data, Stream stream) noexcept;

void upload(const char* op, void* to, const void* from_host, std::size_t bytes, Stream stream);
/// Waits for the stream: the bytes are there when it returns, and errors of kernels queued before it are thrown here.
void download(const char* op, void* to_host, const void* from, std::size_t bytes, Stream stream);
void copy(const char* op, void* to, const void* from, std::size_t bytes, Stream stream);
void clear(const char* op, void* to, std::size_t bytes, Stream stream);
void synchronize(const char* op, Stream stream);

int current_device();
void use_device(int device);
/// The device that holds this memory.
int device_of(const void* data);

/// Types that widen into another without rounding, but for the 64-bit integers, which float64 rounds to nearest even.
enum class Number {
  bfloat16,
  float16,
  e8m0,
  float32,
  float64,
  int8,
  uint8,
  int16,
  uint16,
  int32,
  uint32,
  int64,
  uint64
};

/// to[i] = from[i]: floats to float32, integers to int64 or float64. Throws OpError for any other pair.
void widen(const void* from, Number from_type, std::size_t n, void* to, Number to_type, Stream stream);

}  // namespace fp8ref::cuda
