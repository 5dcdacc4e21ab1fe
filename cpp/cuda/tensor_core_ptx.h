// SPDX-License-Identifier: Apache-2.0
// Tensor-core instructions of one warp (PTX ISA, "Warp Level Matrix Instructions"), and roundings that need an
// intrinsic. Fragments: with g = lane / 4 and t = lane % 4, register i of
//   mma_f64   16x8x8   a: row g + 8 (i % 2), k = t + 4 (i / 2)        b: k = t + 4 i, column g
//   mma_s8    16x8x32  a: row g + 8 (i % 2), k = 4 t + 16 (i / 2) ..  b: k = 4 t + 16 i .. + 3, column g
//   mma_bf16  16x8x16  a: row g + 8 (i % 2), k = 2 t + 8 (i / 2) ..   b: k = 2 t + 8 i .. + 1, column g
//   c of all: row g + 8 (i / 2), column 2 t + i % 2
// The lowest k lies in the lowest bits of a register. Internal; cuda/device.h includes it.
#pragma once

#include <cstdint>

namespace fp8ref::cuda {

__device__ __forceinline__ float fma_toward_zero(float a, float b, float c) { return __fmaf_rz(a, b, c); }
__device__ __forceinline__ double fma_toward_zero(double a, double b, double c) { return __fma_rz(a, b, c); }

/// c += a b in fp64. sm_90 has this shape; before it, four of 8x8x4.
__device__ __forceinline__ void mma_f64(double (&c)[4], const double (&a)[4], const double (&b)[2]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+d"(c[0]), "+d"(c[1]), "+d"(c[2]), "+d"(c[3])
               : "d"(a[0]), "d"(a[1]), "d"(a[2]), "d"(a[3]), "d"(b[0]), "d"(b[1]));
#else
#pragma unroll
  for (int k = 0; k < 2; ++k) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
                   : "+d"(c[2 * half]), "+d"(c[2 * half + 1])
                   : "d"(a[2 * k + half]), "d"(b[k]));
    }
  }
#endif
}

/// c += a b of signed bytes in int32, without saturation.
__device__ __forceinline__ void mma_s8(std::int32_t (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// c = a step of the 16-bit unit of the GPU at hand [MMA-STEP]: on sm_90 that is sm90_wgmma's row of [MMA-UNITS].
__device__ __forceinline__ void mma_bf16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_fp16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// ---- pairs of fp16 --------------------------------------------------------------------------------------------------
__device__ __forceinline__ std::uint32_t add_fp16(std::uint32_t x, std::uint32_t y) {
  std::uint32_t sum;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(sum) : "r"(x), "r"(y));
  return sum;
}
__device__ __forceinline__ std::uint32_t sub_fp16(std::uint32_t x, std::uint32_t y) {
  std::uint32_t difference;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(difference) : "r"(x), "r"(y));
  return difference;
}

/// The values of the two E4M3 codes in the low 16 bits; NaN codes give NaN.
__device__ __forceinline__ std::uint32_t fp16_of_e4m3(std::uint32_t codes) {
  std::uint32_t values;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(values) : "h"(static_cast<std::uint16_t>(codes)));
#else
  const std::uint32_t apart = __byte_perm(codes, 0, 0x1404);  // in the high bytes
  const std::uint32_t small = (apart & 0x80008000) | ((apart >> 1) & 0x3F803F80);
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(values) : "r"(small), "r"(0x5C005C00));  // 2^8
  if ((codes & 0x7F) == 0x7F) values |= 0x7FFF;
  if ((codes & 0x7F00) == 0x7F00) values |= 0x7FFF0000;
#endif
  return values;
}

/// Four 8x8 matrices of 16-bit elements from shared memory, transposed: lane i names row i % 8 of matrix i / 8, and
/// gets in register j rows 2 t and 2 t + 1 of matrix j, column g. So two of them, of 16 rows of b^T, are b of mma_bf16.
__device__ __forceinline__ void load_transposed(std::uint32_t (&r)[4], const void* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// 16 bytes from global to shared memory without passing registers; wait_copies(n) waits for all but the last n groups.
__device__ __forceinline__ void copy_async(void* shared, const void* global) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(global) : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int most>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(most) : "memory");
}

}  // namespace fp8ref::cuda
