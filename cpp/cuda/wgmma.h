// SPDX-License-Identifier: Apache-2.0
// scaled_mm and grouped_mm by the FP8 tensor cores of Hopper, accumulate = sm90_wgmma and sm90_wgmma_promoted
// (spec/scaled_mm.md, "On a Hopper GPU"). The kernels are CUTLASS's mainloops with the epilogue of wgmma_scale.h and
// lie in wgmma_kernel_*.cu; nothing of CUTLASS is seen outside of those. Internal.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "fp8ref/args.h"

namespace fp8ref::cuda {

/// What a kernel of grouped_mm takes for each expert: arrays of `experts`, in device memory.
struct WgmmaGroups {
  std::int64_t experts;
  std::int32_t* shapes;  // m, n, k of each expert
  const void **a, **b;
  std::int64_t *code_stride, *out_stride;  // elements from one row of a and of b to the next, and of out
  const float **a_scale, **b_scale, **bias;
  void** out;
};

/// One product, as a kernel takes it. A kernel of groups takes what they hold for each expert from there.
struct WgmmaCall {
  const char* op;
  const void *a, *b;  // (m, k) and (n, k), 16-byte aligned; k > 0 is a multiple of 16
  std::int64_t m, n, k;
  ScaleView a_scale, b_scale;  // stride 0 or 1
  const float* bias;           // (n) or nullptr
  Epilogue epilogue;           // a_b, b_a or ab
  void* out;                   // (m, n) of the kernel's type; each row aligned to 16 bytes
  std::int64_t out_stride;
  int multiprocessors;
  WgmmaGroups groups;
};
using WgmmaKernel = void (*)(const WgmmaCall& call, cudaStream_t stream);

enum class Grouping { none, experts };

/// A kernel that was built, and what it is for.
struct WgmmaEntry {
  Accumulate accumulate;
  Grouping grouping;
  Operand a_type, b_type;
  OutDtype out_dtype;      // bfloat16 or float32
  std::int64_t most_rows;  // of a
  WgmmaKernel kernel;
};
struct WgmmaTable {
  const WgmmaEntry* entries;  // of those that fit, the first is taken
  int count;
};
WgmmaTable wgmma_table();  // empty where the kernels were left out

/// Queues a scaled_mm (without offsets) or grouped_mm, if a kernel of the table can do it on a device of that
/// capability; whether it did. What is left is emulated. all.m is the rows of a, also with offsets.
bool wgmma(const GroupedMmArgs& args, const WgmmaTable& table, int capability, int multiprocessors,
           cudaStream_t stream);

// ---- wgmma_kernel_*.cu, where CUTLASS was found ---------------------------------------------------------------------
void wgmma_bf16(const WgmmaCall& call, cudaStream_t stream);
void wgmma_f32(const WgmmaCall& call, cudaStream_t stream);
void wgmma_few_rows(const WgmmaCall& call, cudaStream_t stream);
void wgmma_grouped(const WgmmaCall& call, cudaStream_t stream);
void wgmma_e4m3_e5m2(const WgmmaCall& call, cudaStream_t stream);
void wgmma_e5m2_e4m3(const WgmmaCall& call, cudaStream_t stream);
void wgmma_e5m2_e5m2(const WgmmaCall& call, cudaStream_t stream);
void wgmma_promoted_bf16(const WgmmaCall& call, cudaStream_t stream);
void wgmma_promoted_f32(const WgmmaCall& call, cudaStream_t stream);
void wgmma_promoted_few_rows(const WgmmaCall& call, cudaStream_t stream);
void wgmma_promoted_grouped(const WgmmaCall& call, cudaStream_t stream);
void wgmma_promoted_e4m3_e5m2(const WgmmaCall& call, cudaStream_t stream);
void wgmma_promoted_e5m2_e4m3(const WgmmaCall& call, cudaStream_t stream);
void wgmma_promoted_e5m2_e5m2(const WgmmaCall& call, cudaStream_t stream);

}  // namespace fp8ref::cuda
