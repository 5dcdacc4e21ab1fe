// SPDX-License-Identifier: Apache-2.0
// What the device in use is.
#include <mutex>
#include <vector>

#include "cuda/launch.h"
#include "fp8ref/cuda.h"

namespace fp8ref::cuda {
namespace {

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "device");
  return value;
}

DeviceFacts ask(int device) {
  // Freed workspace stays with the pool: giving it back at every synchronisation would make each call pay for it anew.
  cudaMemPool_t pool;
  if (cudaDeviceGetDefaultMemPool(&pool, device) == cudaSuccess) {
    std::uint64_t most = ~std::uint64_t{0};
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &most), "device");
  }
  return {
      10 * attribute(cudaDevAttrComputeCapabilityMajor, device) + attribute(cudaDevAttrComputeCapabilityMinor, device),
      attribute(cudaDevAttrMultiProcessorCount, device)};
}

}  // namespace

DeviceFacts device_facts() {
  static std::mutex mutex;
  static std::vector<DeviceFacts> known;
  int device = 0;
  check(cudaGetDevice(&device), "device");
  const std::scoped_lock lock(mutex);
  const auto index = static_cast<std::size_t>(device);
  if (known.size() <= index) known.resize(index + 1, DeviceFacts{0, 0});
  if (known[index].capability == 0) known[index] = ask(device);
  return known[index];
}

DeviceInfo device_info() {
  int driver = 0, runtime = 0, count = 0;
  check(cudaDriverGetVersion(&driver), "device");
  check(cudaRuntimeGetVersion(&runtime), "device");
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver) {
    throw DeviceError("device: no CUDA driver, or one older than the runtime " + std::to_string(runtime));
  }
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) throw DeviceError("device: no CUDA device");
  check(error, "device");
  int device = 0;
  check(cudaGetDevice(&device), "device");
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device), "device");
  const DeviceFacts facts = device_facts();
  return {properties.name, facts.capability, facts.multiprocessors, properties.totalGlobalMem, driver, runtime};
}

}  // namespace fp8ref::cuda
