// SPDX-License-Identifier: Apache-2.0
// Memory, copies and devices for a binding.
#include <string>

#include "cuda/interop.h"
#include "cuda/launch.h"
#include "fp8ref/errors.h"

namespace fp8ref::cuda {

void* allocate(const char* op, std::size_t bytes, Stream stream) {
  device_facts();  // the pool keeps what is given back
  void* data = nullptr;
  const cudaError_t error = cudaMallocAsync(&data, bytes == 0 ? 1 : bytes, stream);
  if (error != cudaSuccess) check(error, (std::string(op) + ": " + std::to_string(bytes) + " bytes").c_str());
  return data;
}

void release(void* data, Stream stream) noexcept {
  if (cudaFreeAsync(data, stream) != cudaSuccess) cudaGetLastError();  // the device is lost: so is its memory
}

void upload(const char* op, void* to, const void* from_host, std::size_t bytes, Stream stream) {
  if (bytes != 0) check(cudaMemcpyAsync(to, from_host, bytes, cudaMemcpyHostToDevice, stream), op);
}

void download(const char* op, void* to_host, const void* from, std::size_t bytes, Stream stream) {
  if (bytes != 0) check(cudaMemcpyAsync(to_host, from, bytes, cudaMemcpyDeviceToHost, stream), op);
  synchronize(op, stream);
}

void copy(const char* op, void* to, const void* from, std::size_t bytes, Stream stream) {
  if (bytes != 0) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), op);
}

void clear(const char* op, void* to, std::size_t bytes, Stream stream) {
  if (bytes != 0) check(cudaMemsetAsync(to, 0, bytes, stream), op);
}

void synchronize(const char* op, Stream stream) { check(cudaStreamSynchronize(stream), op); }

int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "device");
  return device;
}

void use_device(int device) { check(cudaSetDevice(device), "device"); }

int device_of(const void* data) {
  cudaPointerAttributes attributes{};
  check(cudaPointerGetAttributes(&attributes, data), "device");
  if (attributes.type != cudaMemoryTypeDevice && attributes.type != cudaMemoryTypeManaged) {
    throw OpError("an array says that it is on a CUDA device, but its memory is not");
  }
  return attributes.device;
}

}  // namespace fp8ref::cuda
