// SPDX-License-Identifier: Apache-2.0
// The instructions as inline PTX, behind one shape: 64 x 8 outputs, 32 bytes of K, four warps of 16 rows each.
//
// Lane l of a warp holds rows l/4 and l/4 + 8 of the warp's 16, columns 2*(l%4) and the next. PTX ISA, "Register
// Fragments for wgmma.mma_async.m64nNk32" and "Matrix Fragments for mma.m16n8k32"; in bytes those of k16 are the same.
#pragma once

#include <cstdint>

#include "probe_model.h"

namespace probes {

/// Distances between core matrices: the next along K, the next along M or N. Both belong to the layout of stage().
struct Offsets {
  std::uint32_t leading = 128, stride = 256;
};

template <OutDtype O>
struct Fragment;
template <>
struct Fragment<OutDtype::float32> {
  float d[4];
};
template <>
struct Fragment<OutDtype::float16> {
  std::uint32_t d[2];  // two columns each
};

// ---- where the outputs of a thread are ------------------------------------------------------------------------------
inline __device__ int output(int i) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  return (warp * 16 + lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2;
}

template <OutDtype O>
__device__ Fragment<O> load(const std::uint32_t* c) {
  Fragment<O> x;
  if constexpr (O == OutDtype::float32) {
    for (int i = 0; i < 4; ++i) x.d[i] = __uint_as_float(c[output(i)]);
  } else {
    for (int i = 0; i < 2; ++i) x.d[i] = (c[output(2 * i)] & 0xFFFF) | c[output(2 * i + 1)] << 16;
  }
  return x;
}

template <OutDtype O>
__device__ void store(std::uint32_t* d, const Fragment<O>& x) {
  for (int i = 0; i < 4; ++i) {
    if constexpr (O == OutDtype::float32) {
      d[output(i)] = __float_as_uint(x.d[i]);
    } else {
      d[output(i)] = x.d[i / 2] >> (i % 2 * 16) & 0xFFFF;
    }
  }
}

inline __device__ void add(Fragment<OutDtype::float32>& sum, const Fragment<OutDtype::float32>& part) {
  for (int i = 0; i < 4; ++i) sum.d[i] = __fadd_rn(sum.d[i], part.d[i]);
}
inline __device__ void add(Fragment<OutDtype::float16>&, const Fragment<OutDtype::float16>&) { __trap(); }

// ---- operands -------------------------------------------------------------------------------------------------------
/// The matrix descriptor of wgmma without swizzle, K-major (PTX ISA, "Matrix descriptor"): address, leading dimension
/// byte offset and stride dimension byte offset, each without its low 4 bits.
inline __device__ std::uint64_t descriptor(const std::uint8_t* matrix, Offsets offsets) {
  const auto encoded = [](std::uint32_t x) { return static_cast<std::uint64_t>((x & 0x3FFFF) >> 4); };
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(matrix));
  return encoded(address) | encoded(offsets.leading) << 16 | encoded(offsets.stride) << 32;
}

inline __device__ std::uint32_t word(const std::uint8_t* matrix, int row, int byte) {
  return *reinterpret_cast<const std::uint32_t*>(matrix + row / 8 * 256 + byte / 16 * 128 + row % 8 * 16 + byte % 16);
}

/// A as wgmma and mma.sync want it in registers.
struct LeftWords {
  std::uint32_t a[4];
};
inline __device__ LeftWords left_words(const std::uint8_t* matrix) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  LeftWords words;
  for (int i = 0; i < 4; ++i) words.a[i] = word(matrix, warp * 16 + lane / 4 + i % 2 * 8, lane % 4 * 4 + i / 2 * 16);
  return words;
}

template <Form F>
__device__ void make_operands_visible() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if constexpr (F != Form::mma_sync) asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// ---- order ----------------------------------------------------------------------------------------------------------
inline __device__ void hold(Fragment<OutDtype::float32>& x) {
  for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(x.d[i])::"memory");
}
inline __device__ void hold(Fragment<OutDtype::float16>& x) {
  for (int i = 0; i < 2; ++i) asm volatile("" : "+r"(x.d[i])::"memory");
}

/// The registers of the accumulator are ready for wgmma.
template <Form F, OutDtype O>
__device__ void begin(Fragment<O>& x) {
  hold(x);
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if constexpr (F != Form::mma_sync) asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

/// All results are in the registers.
template <Form F, OutDtype O>
__device__ void finish(Fragment<O>& x) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if constexpr (F != Form::mma_sync) {
    asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" ::: "memory");
  }
#endif
  hold(x);
}

// ---- instructions ---------------------------------------------------------------------------------------------------
// TYPES is what follows the shape; the operands after scale-d are the signs of A and B, and for 16 bits whether A (from
// shared memory) and B are transposed.
#define PROBES_WGMMA_SS_F32(TYPES, TAIL)                                                      \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %6, 0;\nwgmma.mma_async.sync.aligned." TYPES \
               " {%0, %1, %2, %3}, %4, %5, p, 1, 1" TAIL ";\n}"                               \
               : "+f"(x.d[0]), "+f"(x.d[1]), "+f"(x.d[2]), "+f"(x.d[3])                       \
               : "l"(da), "l"(db), "r"(scale))
#define PROBES_WGMMA_SS_F16(TYPES, TAIL)                                                      \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %4, 0;\nwgmma.mma_async.sync.aligned." TYPES \
               " {%0, %1}, %2, %3, p, 1, 1" TAIL ";\n}"                                       \
               : "+r"(x.d[0]), "+r"(x.d[1])                                                   \
               : "l"(da), "l"(db), "r"(scale))
#define PROBES_WGMMA_RS_F32(TYPES, TAIL)                                                      \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %9, 0;\nwgmma.mma_async.sync.aligned." TYPES \
               " {%0, %1, %2, %3}, {%4, %5, %6, %7}, %8, p, 1, 1" TAIL ";\n}"                 \
               : "+f"(x.d[0]), "+f"(x.d[1]), "+f"(x.d[2]), "+f"(x.d[3])                       \
               : "r"(w.a[0]), "r"(w.a[1]), "r"(w.a[2]), "r"(w.a[3]), "l"(db), "r"(scale))
#define PROBES_WGMMA_RS_F16(TYPES, TAIL)                                                      \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %7, 0;\nwgmma.mma_async.sync.aligned." TYPES \
               " {%0, %1}, {%2, %3, %4, %5}, %6, p, 1, 1" TAIL ";\n}"                         \
               : "+r"(x.d[0]), "+r"(x.d[1])                                                   \
               : "r"(w.a[0]), "r"(w.a[1]), "r"(w.a[2]), "r"(w.a[3]), "l"(db), "r"(scale))
#define PROBES_MMA_F32(TYPES)                                                                               \
  asm volatile("mma.sync.aligned." TYPES " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(x.d[0]), "+f"(x.d[1]), "+f"(x.d[2]), "+f"(x.d[3])                                     \
               : "r"(w.a[0]), "r"(w.a[1]), "r"(w.a[2]), "r"(w.a[3]), "r"(b0), "r"(b1))
#define PROBES_MMA_F16(TYPES)                                                               \
  asm volatile("mma.sync.aligned." TYPES " {%0, %1}, {%2, %3, %4, %5}, {%6, %7}, {%0, %1};" \
               : "+r"(x.d[0]), "+r"(x.d[1])                                                 \
               : "r"(w.a[0]), "r"(w.a[1]), "r"(w.a[2]), "r"(w.a[3]), "r"(b0), "r"(b1))

// Every type that the probes use: M stands for one of the forms, F8 and F16 for what wgmma wants at its end.
#define PROBES_WGMMA_TYPES(M, TAIL)                                                                         \
  if constexpr (O == OutDtype::float32) {                                                                   \
    if constexpr (A == Operand::e4m3 && B == Operand::e4m3) PROBES_##M##_F32("m64n8k32.f32.e4m3.e4m3", ""); \
    if constexpr (A == Operand::e5m2 && B == Operand::e5m2) PROBES_##M##_F32("m64n8k32.f32.e5m2.e5m2", ""); \
    if constexpr (A == Operand::e4m3 && B == Operand::e5m2) PROBES_##M##_F32("m64n8k32.f32.e4m3.e5m2", ""); \
    if constexpr (A == Operand::bf16) PROBES_##M##_F32("m64n8k16.f32.bf16.bf16", TAIL);                     \
    if constexpr (A == Operand::fp16) PROBES_##M##_F32("m64n8k16.f32.f16.f16", TAIL);                       \
  } else {                                                                                                  \
    if constexpr (A == Operand::e4m3) PROBES_##M##_F16("m64n8k32.f16.e4m3.e4m3", "");                       \
    if constexpr (A == Operand::e5m2) PROBES_##M##_F16("m64n8k32.f16.e5m2.e5m2", "");                       \
    if constexpr (A == Operand::fp16) PROBES_##M##_F16("m64n8k16.f16.f16.f16", TAIL);                       \
  }

template <Operand A, Operand B, OutDtype O>
__device__ void wgmma_ss(Fragment<O>& x, std::uint64_t da, std::uint64_t db, int scale) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  PROBES_WGMMA_TYPES(WGMMA_SS, ", 0, 0")
#else
  __trap();
#endif
}

template <Operand A, Operand B, OutDtype O>
__device__ void wgmma_rs(Fragment<O>& x, const LeftWords& w, std::uint64_t db, int scale) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  PROBES_WGMMA_TYPES(WGMMA_RS, ", 0")
#else
  __trap();
#endif
}

template <Operand A, Operand B, OutDtype O>
__device__ void mma_sync(Fragment<O>& x, const LeftWords& w, std::uint32_t b0, std::uint32_t b1) {
  if constexpr (A == Operand::bf16) {
    PROBES_MMA_F32("m16n8k16.row.col.f32.bf16.bf16.f32");
  } else if constexpr (A == Operand::fp16 && O == OutDtype::float32) {
    PROBES_MMA_F32("m16n8k16.row.col.f32.f16.f16.f32");
  } else if constexpr (A == Operand::fp16) {
    PROBES_MMA_F16("m16n8k16.row.col.f16.f16.f16.f16");
  } else {
#if __CUDA_ARCH__ >= 890
    if constexpr (O == OutDtype::float32) {
      if constexpr (A == Operand::e4m3 && B == Operand::e4m3) PROBES_MMA_F32("m16n8k32.row.col.f32.e4m3.e4m3.f32");
      if constexpr (A == Operand::e5m2 && B == Operand::e5m2) PROBES_MMA_F32("m16n8k32.row.col.f32.e5m2.e5m2.f32");
      if constexpr (A == Operand::e4m3 && B == Operand::e5m2) PROBES_MMA_F32("m16n8k32.row.col.f32.e4m3.e5m2.f32");
    } else {
      if constexpr (A == Operand::e4m3) PROBES_MMA_F16("m16n8k32.row.col.f16.e4m3.e4m3.f16");
      if constexpr (A == Operand::e5m2) PROBES_MMA_F16("m16n8k32.row.col.f16.e5m2.e5m2.f16");
    }
#else
    __trap();
#endif
  }
}

/// x = a * b + x, or a * b + 0 (which mma.sync does by a zero accumulator).
template <Form F, Operand A, Operand B, OutDtype O>
__device__ void issue(Fragment<O>& x, const std::uint8_t* a, const std::uint8_t* b, Offsets offsets, bool accumulate) {
  if constexpr (F == Form::wgmma_ss) {
    wgmma_ss<A, B, O>(x, descriptor(a, offsets), descriptor(b, offsets), accumulate);
  } else if constexpr (F == Form::wgmma_rs) {
    wgmma_rs<A, B, O>(x, left_words(a), descriptor(b, offsets), accumulate);
  } else {
    if (!accumulate) x = {};
    const int lane = static_cast<int>(threadIdx.x) % 32;
    mma_sync<A, B, O>(x, left_words(a), word(b, lane / 4, lane % 4 * 4), word(b, lane / 4, lane % 4 * 4 + 16));
  }
}

}  // namespace probes
