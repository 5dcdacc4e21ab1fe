// SPDX-License-Identifier: Apache-2.0
// A stand-in for CUDA's header of this name: what the kernels of cpp/cuda use of the language and of the runtime, so
// that a C++ compiler takes them and the SIMT emulator (simt.h) runs them on a CPU, barriers and warps included.
#pragma once

#include "cuda_runtime_api.h"
#include "simt.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__  // the C++ headers write it too, as an attribute
#define __grid_constant__
#define __constant__ static const
#define __launch_bounds__(...)
#define __shared__ static

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};

// ---- what a thread knows of itself ----------------------------------------------------------------------------------
#define threadIdx (fp8ref::simt::self().thread)
#define blockIdx (fp8ref::simt::self().block)
#define blockDim (fp8ref::simt::self().block_dim)
#define gridDim (fp8ref::simt::self().grid_dim)
inline constexpr int warpSize = 32;

// ---- barriers and warp functions ------------------------------------------------------------------------------------
inline void __syncthreads() { fp8ref::simt::block_barrier(); }
inline int __syncthreads_or(int predicate) { return fp8ref::simt::block_or(predicate); }
inline void __syncwarp(unsigned = 0xFFFFFFFF) { fp8ref::simt::warp_barrier(); }
inline void __threadfence() {}

template <class T>
T __shfl_sync(unsigned, T value, int lane, int width = 32) {
  const int first = fp8ref::simt::lane() & ~(width - 1);
  return fp8ref::simt::warp_values(value)[first + (lane & (width - 1))];
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
  return fp8ref::simt::warp_values(value)[fp8ref::simt::lane() ^ mask];
}
template <class T>
T __shfl_down_sync(unsigned, T value, unsigned delta, int = 32) {
  const int from = fp8ref::simt::lane() + static_cast<int>(delta);
  return fp8ref::simt::warp_values(value)[from < 32 ? from : fp8ref::simt::lane()];
}
template <class T>
T __shfl_up_sync(unsigned, T value, unsigned delta, int = 32) {
  const int from = fp8ref::simt::lane() - static_cast<int>(delta);
  return fp8ref::simt::warp_values(value)[from >= 0 ? from : fp8ref::simt::lane()];
}
inline unsigned __ballot_sync(unsigned, int predicate) {
  const int* values = fp8ref::simt::warp_values(predicate);
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i) bits |= (values[i] != 0 ? 1u : 0u) << i;
  return bits;
}
template <class T>
unsigned __match_any_sync(unsigned, T value) {
  const T* values = fp8ref::simt::warp_values(value);
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i) bits |= (values[i] == value ? 1u : 0u) << i;
  return bits;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == 0xFFFFFFFF; }

// ---- atomics: the threads of a block take turns, so plain steps will do ---------------------------------------------
template <class T, class V>
T atomicAdd(T* address, V value) {
  const T old = *address;
  *address = static_cast<T>(old + static_cast<T>(value));
  return old;
}
template <class T>
T atomicMax(T* address, T value) {
  const T old = *address;
  if (value > old) *address = value;
  return old;
}
template <class T>
T atomicOr(T* address, T value) {
  const T old = *address;
  *address |= value;
  return old;
}
template <class T>
T atomicCAS(T* address, T expected, T value) {
  const T old = *address;
  if (old == expected) *address = value;
  return old;
}
template <class T>
T __ldg(const T* address) {
  return *address;
}

// ---- integers -------------------------------------------------------------------------------------------------------
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
/// Bytes 0 .. 3 are those of x, 4 .. 7 those of y; a digit of the selector names one of them.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const unsigned long long bytes = static_cast<unsigned long long>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i)
    result |= static_cast<unsigned>(bytes >> (8 * (selector >> (4 * i) & 7)) & 0xFF) << (8 * i);
  return result;
}
/// c plus both signed halves of a times signed bytes of b: those from `first` on.
inline int simt_dp2a(int a, int b, int c, int first) {
  for (int i = 0; i < 2; ++i) {
    c += static_cast<short>(a >> (16 * i)) * static_cast<signed char>(b >> (8 * (first + i)));
  }
  return c;
}
inline int __dp2a_lo(int a, int b, int c) { return simt_dp2a(a, b, c, 0); }
inline int __dp2a_hi(int a, int b, int c) { return simt_dp2a(a, b, c, 2); }
