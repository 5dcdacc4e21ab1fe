// SPDX-License-Identifier: Apache-2.0
// scaled_mm and grouped_mm by the FP8 tensor cores of Hopper, accumulate = sm90_wgmma and sm90_wgmma_promoted
// (spec/scaled_mm.md, "On a Hopper GPU"). The kernels are CUTLASS's mainloops with an epilogue of ours and lie in
// wgmma_kernel_*.cu; nothing of CUTLASS is seen outside of those. Internal.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "fp8ref/args.h"

namespace fp8ref::cuda {

/// A scale of each row of an operand, or one for all.
struct WgmmaScale {
  const float* data;
  std::int64_t stride;  // 1 or 0
};

/// One product, as a kernel takes it.
struct WgmmaCall {
  const void *a, *b;  // (m, k) and (n, k), 16-byte aligned; k is a multiple of 16
  int m, n, k;
  WgmmaScale a_scale, b_scale;
  const float* bias;  // (n) or nullptr
  Epilogue epilogue;  // a_b, b_a or ab
  void* out;          // (m, n), 16-byte aligned rows
  std::int64_t out_stride;
  int multiprocessors;
  const char* op;
};

/// scaled_mm of E4M3 codes with one chain over K, to bfloat16.
void wgmma_bf16(const WgmmaCall& call, cudaStream_t stream);

}  // namespace fp8ref::cuda
