// SPDX-License-Identifier: Apache-2.0
// One kernel for all instructions: a block of four warps computes a tile of 64 x 8 outputs.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "probe_batch.h"
#include "probe_instructions.cuh"
#include "probe_random.h"

namespace probes {

inline constexpr int kStaged = 16;  // instructions whose operands are in shared memory at once

struct KernelArgs {
  const uint4 *a, *b;  // as Batch has them
  const std::uint32_t* c;
  std::uint32_t* d;
  Plan plan;
  Offsets offsets;
};

/// Copies rows of 32 bytes into core matrices of 8 rows x 16 bytes, each of 128 bytes in a row: those of one group of 8
/// rows lie behind each other along K, then comes the next group.
inline __device__ void stage(std::uint8_t* to, const uint4* from, int rows, int steps) {
  for (int unit = static_cast<int>(threadIdx.x); unit < steps * rows * 2; unit += static_cast<int>(blockDim.x)) {
    const int step = unit / (rows * 2), row = unit / 2 % rows, half = unit % 2;
    const int at = step * rows * kRowBytes + row / 8 * 256 + half * 128 + row % 8 * 16;
    *reinterpret_cast<uint4*>(to + at) = from[unit];
  }
}

template <Form F, Operand A, Operand B, OutDtype O>
__global__ void __launch_bounds__(128) tile_kernel(KernelArgs args) {
  __shared__ alignas(128) std::uint8_t left[kStaged * kRows * kRowBytes];
  __shared__ alignas(128) std::uint8_t right[kStaged * kColumns * kRowBytes];
  const Plan plan = args.plan;
  const std::size_t tile = blockIdx.x, first = tile * static_cast<std::size_t>(plan.steps);
  Fragment<O> part = load<O>(args.c + tile * kOutputs), sum{};
  bool accumulate = plan.start == Start::from_c;
  for (int step = 0; step < plan.steps; step += plan.group) {
    const int count = plan.steps - step < plan.group ? plan.steps - step : plan.group;
    stage(left, args.a + (first + static_cast<std::size_t>(step)) * kRows * 2, kRows, count);
    stage(right, args.b + (first + static_cast<std::size_t>(step)) * kColumns * 2, kColumns, count);
    make_operands_visible<F>();
    __syncthreads();
    begin<F>(part);
    for (int i = 0; i < count; ++i) {
      issue<F, A, B, O>(part, left + i * kRows * kRowBytes, right + i * kColumns * kRowBytes, args.offsets, accumulate);
      accumulate = true;
      // Registers that hold A may not change before the instruction has read them.
      if constexpr (F == Form::wgmma_rs) {
        finish<F>(part);
        begin<F>(part);
      }
    }
    finish<F>(part);
    __syncthreads();
    if (plan.sum == Sum::promoted) {
      add(sum, part);
      part = {};
    }
  }
  store<O>(args.d + tile * kOutputs, plan.sum == Sum::promoted ? sum : part);
}

// ---- host -----------------------------------------------------------------------------------------------------------
inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

/// Device memory with a copy of the values.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values) : bytes_(values.size() * sizeof(T)) {
    check(cudaMalloc(&data_, bytes_), "cudaMalloc");
    check(cudaMemcpy(data_, values.data(), bytes_, cudaMemcpyHostToDevice), "copy to the device");
  }
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  template <class As = T>
  As* get() const {
    return static_cast<As*>(data_);
  }
  void read(std::vector<T>& values) const {
    check(cudaMemcpy(values.data(), data_, bytes_, cudaMemcpyDeviceToHost), "the kernel");
  }

 private:
  void* data_ = nullptr;
  std::size_t bytes_;
};

using Kernel = void (*)(KernelArgs);

template <Form F>
Kernel kernel_of(const Instruction& instruction) {
  using enum Operand;
  const bool half = instruction.out == OutDtype::float16;
  const auto is = [&](Operand a, Operand b) { return instruction.a == a && instruction.b == b; };
  if (is(e4m3, e4m3) && half) return tile_kernel<F, e4m3, e4m3, OutDtype::float16>;
  if (is(e5m2, e5m2) && half) return tile_kernel<F, e5m2, e5m2, OutDtype::float16>;
  if (is(fp16, fp16) && half) return tile_kernel<F, fp16, fp16, OutDtype::float16>;
  if (is(e4m3, e4m3)) return tile_kernel<F, e4m3, e4m3, OutDtype::float32>;
  if (is(e5m2, e5m2)) return tile_kernel<F, e5m2, e5m2, OutDtype::float32>;
  if (is(e4m3, e5m2)) return tile_kernel<F, e4m3, e5m2, OutDtype::float32>;
  if (is(bf16, bf16)) return tile_kernel<F, bf16, bf16, OutDtype::float32>;
  return tile_kernel<F, fp16, fp16, OutDtype::float32>;
}

inline Kernel kernel_of(const Instruction& instruction) {
  if (instruction.form == Form::wgmma_ss) return kernel_of<Form::wgmma_ss>(instruction);
  if (instruction.form == Form::wgmma_rs) return kernel_of<Form::wgmma_rs>(instruction);
  return kernel_of<Form::mma_sync>(instruction);
}

/// The offsets of descriptors that this GPU was found to want.
inline Offsets& offsets() {
  static Offsets found;
  return found;
}

inline std::vector<std::uint32_t> run_on_device(const Batch& batch) {
  const OnDevice<std::uint8_t> a(batch.a), b(batch.b);
  std::vector<std::uint32_t> results(batch.c.size(), 0xDEADBEEF);  // an output that nobody writes shows
  const OnDevice<std::uint32_t> c(batch.c), d(results);
  KernelArgs args{a.get<uint4>(), b.get<uint4>(), c.get(), d.get(), batch.plan, offsets()};
  void* arguments[] = {&args};
  const Kernel kernel = kernel_of(batch.instruction);
  check(cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(static_cast<unsigned>(batch.tiles)), dim3(128),
                         arguments, 0, nullptr),
        name(batch.instruction).c_str());
  check(cudaDeviceSynchronize(), name(batch.instruction).c_str());
  d.read(results);
  return results;
}

/// Whether `leading` or `stride` is the distance along K is what a descriptor is most easily got wrong about: if an
/// integer product comes out right only with the two exchanged, they stay exchanged, and the record says so.
inline std::string choose_offsets() {
  const Instruction instruction{Form::wgmma_ss, Operand::e4m3, Operand::e4m3, OutDtype::float32};
  const IntegerProduct made = integer_product(instruction);
  if (run_on_device(made.batch) == made.results) return "leading dimension along K";
  std::swap(offsets().leading, offsets().stride);
  if (run_on_device(made.batch) == made.results) return "stride dimension along K";
  std::swap(offsets().leading, offsets().stride);
  return "neither order gives an integer product";
}

/// Chooses device 0 and says what it is.
inline Capability open_device(std::vector<std::pair<std::string, std::string>>& fields) {
  check(cudaSetDevice(0), "no CUDA device");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  const auto version = [](int number) {
    return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
  };
  fields = {{"gpu", properties.name},
            {"capability", std::to_string(properties.major) + "." + std::to_string(properties.minor)},
            {"cuda_of_driver", version(driver)},
            {"cuda", version(CUDART_VERSION)}};
  if (properties.major == 9) fields.push_back({"descriptor", choose_offsets()});
  return {properties.major, properties.minor};
}

}  // namespace probes
