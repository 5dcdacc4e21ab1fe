// SPDX-License-Identifier: Apache-2.0
// The emulator itself: barriers, exchanges, the fragments of tensor-core instructions, and what it must refuse.
#include <stdexcept>
#include <vector>

#include "compare.h"
#include "cuda/device.h"
#include "cuda/launch.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

__global__ void number_kernel(int* out) {
  const int block = static_cast<int>((blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x);
  out[block * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)] =
      block * 1000 + static_cast<int>(threadIdx.x);
}

void test_numbers() {
  std::vector<int> out(2 * 3 * 2 * 40, -1);
  cuda::launch("test", number_kernel, dim3(2, 3, 2), 40, 0, nullptr, out.data());
  for (int i = 0; i < static_cast<int>(out.size()); ++i) check(out[i] == i / 40 * 1000 + i % 40, "numbers");
}

/// Each thread adds its neighbour's number of the step before, through shared memory.
__global__ void rotate_kernel(int steps, int* out) {
  int* values = cuda::shared_memory<int>();
  const int n = static_cast<int>(blockDim.x), i = static_cast<int>(threadIdx.x);
  values[i] = i;
  __syncthreads();
  for (int step = 0; step < steps; ++step) {
    const int next = values[(i + 1) % n];
    __syncthreads();
    values[i] = next;
    __syncthreads();
  }
  out[i] = values[i];
}

void test_barriers() {
  std::vector<int> out(96);
  cuda::launch("test", rotate_kernel, 1, 96, 96 * sizeof(int), nullptr, 7, out.data());
  for (int i = 0; i < 96; ++i) check(out[i] == (i + 7) % 96, "barriers");
}

__global__ void reduce_kernel(const int* values, int* out) {
  __shared__ int scratch[32];
  const int i = static_cast<int>(threadIdx.x);
  const auto add = [](int a, int b) { return a + b; };
  out[i] = cuda::block_reduce(values[i], scratch, add);
  out[blockDim.x + threadIdx.x] = cuda::warp_reduce(values[i], add);
}

void test_reductions() {
  std::vector<int> values(128), out(256);
  for (int i = 0; i < 128; ++i) values[i] = i * i;
  cuda::launch("test", reduce_kernel, 1, 128, 0, nullptr, values.data(), out.data());
  for (int i = 0; i < 128; ++i) {
    int all = 0, warp = 0;
    for (int j = 0; j < 128; ++j) all += values[j], warp += j / 32 == i / 32 ? values[j] : 0;
    check(out[i] == all && out[128 + i] == warp, "reductions");
  }
}

/// One tile c (16, 8) = a (16, depth) b (8, depth)^T, with fragments loaded as tensor_core_ptx.h documents them.
__global__ void tile_kernel(const double* a, const double* b, double* c) {
  const int g = cuda::lane_index() / 4, t = cuda::lane_index() % 4;
  double x[4], y[2], z[4] = {0, 0, 0, 0};
  for (int i = 0; i < 4; ++i) x[i] = a[(g + 8 * (i % 2)) * 8 + t + 4 * (i / 2)];
  for (int i = 0; i < 2; ++i) y[i] = b[g * 8 + t + 4 * i];
  cuda::mma_f64(z, x, y);
  for (int i = 0; i < 4; ++i) c[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = z[i];
}
__global__ void tile_s8_kernel(const std::int8_t* a, const std::int8_t* b, std::int32_t* c) {
  const int g = cuda::lane_index() / 4, t = cuda::lane_index() % 4;
  std::uint32_t x[4], y[2];
  std::int32_t z[4] = {0, 0, 0, 0};
  for (int i = 0; i < 4; ++i) memcpy(&x[i], a + (g + 8 * (i % 2)) * 32 + 4 * t + 16 * (i / 2), 4);
  for (int i = 0; i < 2; ++i) memcpy(&y[i], b + g * 32 + 4 * t + 16 * i, 4);
  cuda::mma_s8(z, x, y);
  for (int i = 0; i < 4; ++i) c[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = z[i];
}
__global__ void tile_bf16_kernel(const bf16* a, const bf16* b, float* c) {
  const int g = cuda::lane_index() / 4, t = cuda::lane_index() % 4;
  std::uint32_t x[4], y[2];
  float z[4] = {0, 0, 0, 0};
  for (int i = 0; i < 4; ++i) memcpy(&x[i], a + (g + 8 * (i % 2)) * 16 + 2 * t + 8 * (i / 2), 4);
  for (int i = 0; i < 2; ++i) memcpy(&y[i], b + g * 16 + 2 * t + 8 * i, 4);
  cuda::mma_bf16(z, x, y);
  for (int i = 0; i < 4; ++i) c[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = z[i];
}

void test_fragments() {
  Random random(1);
  std::vector<double> a(16 * 8), b(8 * 8), c(16 * 8);
  for (double& x : a) x = static_cast<double>(random() % 100);
  for (double& x : b) x = static_cast<double>(random() % 100);
  cuda::launch("test", tile_kernel, 1, 32, 0, nullptr, a.data(), b.data(), c.data());
  const std::vector<std::int8_t> p = random_bits<std::int8_t>(random, 16 * 32),
                                 q = random_bits<std::int8_t>(random, 8 * 32);
  std::vector<std::int32_t> r(16 * 8);
  cuda::launch("test", tile_s8_kernel, 1, 32, 0, nullptr, p.data(), q.data(), r.data());
  const std::vector<bf16> u = random_normal(random, 16 * 16), v = random_normal(random, 8 * 16);
  std::vector<float> w(16 * 8);
  cuda::launch("test", tile_bf16_kernel, 1, 32, 0, nullptr, u.data(), v.data(), w.data());
  constexpr TensorCore core = tensor_core(Accumulate::sm90_wgmma, OperandClass::bf16, OutDtype::float32);
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      double sum = 0;
      for (int k = 0; k < 8; ++k) sum += a[i * 8 + k] * b[j * 8 + k];
      int integer = 0;
      for (int k = 0; k < 32; ++k) integer += p[i * 32 + k] * q[j * 32 + k];
      check(c[i * 8 + j] == sum && r[i * 8 + j] == integer, "fragments");
      check(w[i * 8 + j] == tensor_core_step(core, &u[i * 16], &v[j * 16], 16, 0.0f), "fragments of bf16");
    }
  }
}

/// Copies that nobody waited for have not happened.
__global__ void copy_kernel(const int* from, int* out) {
  int* shared = cuda::shared_memory<int>();
  cuda::copy_async(shared, from);
  cuda::commit_copies();
  cuda::copy_async(shared + 4, from + 4);
  cuda::commit_copies();
  cuda::wait_copies<1>();
  for (int i = 0; i < 8; ++i) out[i] = shared[i];
  cuda::wait_copies<0>();
  for (int i = 0; i < 8; ++i) out[8 + i] = shared[i];
}

void test_copies() {
  alignas(16) static const int from[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<int> out(16);
  cuda::launch("test", copy_kernel, 1, 1, 32, nullptr, from, out.data());
  for (int i = 0; i < 4; ++i) check(out[i] == from[i] && out[4 + i] == -1 && out[12 + i] == from[4 + i], "copies");
}

__global__ void diverging_kernel(int divider) {
  if (threadIdx.x % static_cast<unsigned>(divider) == 0) __syncthreads();
}
__global__ void mixed_kernel() {
  if (threadIdx.x < 32) {
    __syncwarp();
    __syncwarp();
  } else {
    __syncthreads();
  }
}

void test_refusals() {
  refuses<std::logic_error>("a barrier of some threads", "different barriers",
                            [] { cuda::launch("test", diverging_kernel, 1, 64, 0, nullptr, 2); });
  refuses<std::logic_error>("a barrier that some leave out", "different barriers",
                            [] { cuda::launch("test", mixed_kernel, 1, 64, 0, nullptr); });
  cuda::launch("test", diverging_kernel, 1, 64, 0, nullptr, 1);  // and it goes on afterwards
}

}  // namespace

int main() {
  in_both_orders([] {
    test_numbers();
    test_barriers();
    test_reductions();
    test_fragments();
    test_copies();
    test_refusals();
  });
  return finish("simt machine");
}
