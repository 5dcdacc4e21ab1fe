// SPDX-License-Identifier: Apache-2.0
// Every way in which scaled_mm can be computed on this GPU, by itself: its bits against cpu, and its speed. The
// functions over arrays choose one of these ways; here none hides behind another, and Python is not needed.
//
//   nvcc ... -I cpp -I cpp/include tests/gpu/kernels.cu libfp8ref_cuda.a libfp8ref_cpu.a -o kernels && ./kernels
//
// A JSON object a line on stdout: conformance rows as the record has them, and speeds in operations (2 * m * n * k) per
// second. --list: the names of the ways; a name: that one only.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cuda/chains.h"
#include "cuda/exact.h"
#include "cuda/wgmma.h"
#include "fp8ref/cpu.h"
#include "fp8ref/cuda.h"

namespace {

using namespace fp8ref;

struct Shape {
  std::int64_t m, n, k;
};
constexpr Shape kSmall{200, 272, 1040}, kFew{5, 528, 2000}, kCube{4096, 4096, 4096}, kRow{1, 28672, 4096};

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values) : size_(values.size() * sizeof(T)) {
    check(cudaMalloc(&data_, size_));
    check(cudaMemcpy(data_, values.data(), size_, cudaMemcpyHostToDevice));
  }
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  T* get() const { return static_cast<T*>(data_); }
  void read(std::vector<T>& values) const { check(cudaMemcpy(values.data(), data_, size_, cudaMemcpyDeviceToHost)); }

 private:
  void* data_ = nullptr;
  std::size_t size_;
};

/// One product of random codes with a scale for each row and column, on the host and on the device.
struct Product {
  Shape shape;
  std::vector<std::uint8_t> a, b;
  std::vector<float> a_scale, b_scale;
  std::vector<std::uint16_t> out;
  OnDevice<std::uint8_t> device_a, device_b;
  OnDevice<float> device_a_scale, device_b_scale;
  OnDevice<std::uint16_t> device_out;

  explicit Product(Shape s)
      : shape(s),
        a(codes(s.m * s.k, 1)),
        b(codes(s.n * s.k, 2)),
        a_scale(scales(s.m, 3)),
        b_scale(scales(s.n, 4)),
        out(static_cast<std::size_t>(s.m * s.n), 0xDEAD),
        device_a(a),
        device_b(b),
        device_a_scale(a_scale),
        device_b_scale(b_scale),
        device_out(out) {}

  static std::vector<std::uint8_t> codes(std::int64_t count, unsigned seed) {
    std::mt19937_64 random(seed);
    std::vector<std::uint8_t> made(static_cast<std::size_t>(count));
    for (std::uint8_t& x : made) {
      x = static_cast<std::uint8_t>(random() >> 24);
      if ((x & 0x7F) == 0x7F) x ^= 1;
    }
    return made;
  }
  static std::vector<float> scales(std::int64_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(0x1p-9f, 0x1p-7f);
    std::vector<float> made(static_cast<std::size_t>(count));
    for (float& x : made) x = uniform(random);
    return made;
  }

  ScaledMmArgs host(Accumulate accumulate) {
    return args(accumulate, a.data(), b.data(), a_scale.data(), b_scale.data(), out.data());
  }
  ScaledMmArgs device(Accumulate accumulate) const {
    return args(accumulate, device_a.get(), device_b.get(), device_a_scale.get(), device_b_scale.get(),
                device_out.get());
  }

 private:
  ScaledMmArgs args(Accumulate accumulate, const void* left, const void* right, const float* left_scale,
                    const float* right_scale, void* result) const {
    ScaledMmArgs made{};
    made.a = left;
    made.b = right;
    made.m = shape.m;
    made.n = shape.n;
    made.k = shape.k;
    made.a_scale = {left_scale, 1};
    made.b_scale = {right_scale, 1};
    made.accumulate = accumulate;
    made.epilogue = Epilogue::a_b;
    made.out_dtype = OutDtype::bfloat16;
    made.out = result;
    return made;
  }
};

struct Path {
  std::string name;
  Accumulate accumulate;
  std::vector<Shape> equal;  // shapes whose bits are compared
  Shape timed;
  std::function<void(const ScaledMmArgs&)> run;
};

void by_wgmma(const ScaledMmArgs& args) {
  const cuda::DeviceInfo info = cuda::device_info();
  if (!cuda::wgmma({args, 1, nullptr, 0}, cuda::wgmma_table(), info.capability, info.multiprocessors, nullptr)) {
    throw std::runtime_error("no wgmma kernel for this product");
  }
}

std::vector<Path> paths() {
  using enum Accumulate;
  const std::vector<Shape> both = {kSmall, kFew};
  std::vector<Path> found = {
      {"exact, float64 tensor cores", exact, both, kCube,
       [](const ScaledMmArgs& args) { cuda::scaled_mm_f64({args, 1, nullptr, 0}, nullptr); }},
      {"exact, int8 tensor cores", exact, both, kCube,
       [](const ScaledMmArgs& args) { cuda::scaled_mm_s8({args, 1, nullptr, 0}, nullptr); }},
      {"exact, float16 tensor cores",
       exact,
       {kFew},
       kRow,
       [](const ScaledMmArgs& args) { cuda::scaled_mm_f16({args, 1, nullptr, 0}, nullptr); }},
      {"exact, a thread for each output", exact, both, kSmall,
       [](const ScaledMmArgs& args) { cuda::scaled_mm_scalar({args, 1, nullptr, 0}, nullptr); }},
  };
  if (cuda::device_info().capability == 90 && cuda::wgmma_table().count > 0) {
    found.push_back({"sm90_wgmma, wgmma", sm90_wgmma, both, kCube, by_wgmma});
    found.push_back({"sm90_wgmma, wgmma, one row", sm90_wgmma, {kFew}, kRow, by_wgmma});
    found.push_back({"sm90_wgmma_promoted, wgmma", sm90_wgmma_promoted, both, kCube, by_wgmma});
  }
  for (const auto& [name, unit] :
       {std::pair("sm89_mma", sm89_mma), std::pair("sm90_mma_sync", sm90_mma_sync), std::pair("sm90_wgmma", sm90_wgmma),
        std::pair("sm90_wgmma_promoted", sm90_wgmma_promoted), std::pair("sm120_mma", sm120_mma)}) {
    found.push_back({std::string(name) + ", emulated", unit, both, {2048, 4096, 4096}, [](const ScaledMmArgs& args) {
                       cuda::chain_scaled_mm(args, nullptr);
                     }});
  }
  return found;
}

/// Outputs that differ, of one product.
std::size_t differing(const Path& path, Shape shape) {
  Product product(shape);
  cpu::scaled_mm(product.host(path.accumulate));
  path.run(product.device(path.accumulate));
  check(cudaDeviceSynchronize());
  std::vector<std::uint16_t> got(product.out.size());
  product.device_out.read(got);
  std::size_t count = 0;
  for (std::size_t i = 0; i < got.size(); ++i) count += got[i] != product.out[i];
  return count;
}

/// Operations per second, by the median of five.
double speed(const Path& path) {
  Product product(path.timed);
  const ScaledMmArgs args = product.device(path.accumulate);
  cudaEvent_t start, end;
  check(cudaEventCreate(&start));
  check(cudaEventCreate(&end));
  std::vector<float> taken(6);
  for (float& milliseconds : taken) {
    check(cudaEventRecord(start));
    path.run(args);
    check(cudaEventRecord(end));
    check(cudaEventSynchronize(end));
    check(cudaEventElapsedTime(&milliseconds, start, end));
  }
  std::sort(taken.begin() + 1, taken.end());
  const Shape s = path.timed;
  return 2.0 * static_cast<double>(s.m * s.n) * static_cast<double>(s.k) / (taken[3] * 1e-3);
}

std::string text(Shape s) { return std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k); }

/// One line for each path, at once, so that what a later one breaks does not take it along.
bool report(const Path& path) {
  bool equal = true;
  for (const Shape shape : path.equal) {
    const std::size_t count = differing(path, shape);
    equal = equal && count == 0;
    std::printf("{\"conformance\": {\"op\": \"scaled_mm kernel\", \"shape\": \"%s, %s\", \"elements\": %lld, ",
                path.name.c_str(), text(shape).c_str(), static_cast<long long>(shape.m * shape.n));
    std::printf("\"differ\": %zu}}\n", count);
  }
  std::printf("{\"speed\": {\"name\": \"%s, %s\", \"rate\": %.6g}}\n", path.name.c_str(), text(path.timed).c_str(),
              speed(path));
  std::fflush(stdout);
  return equal;
}

}  // namespace

int main(int count, char** words) {
  bool equal = true;
  try {
    const std::vector<Path> all = paths();
    if (count > 1 && std::string(words[1]) == "--list") {
      for (const Path& path : all) std::printf("%s\n", path.name.c_str());
      return 0;
    }
    for (const Path& path : all) {
      if (count == 1 || path.name == words[1]) equal = report(path) && equal;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
  return equal ? 0 : 1;
}
