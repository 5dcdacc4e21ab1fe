// SPDX-License-Identifier: Apache-2.0
// Chains of tensor cores on a CUDA device that need not have them (spec/mma.md). Internal.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "fp8ref/args.h"
#include "fp8ref/cuda.h"
#include "fp8ref/mma.h"

namespace fp8ref::cuda {

// ---- scaled_mm and grouped_mm for every accumulator but `exact` (chains.cu) -----------------------------------------
/// Block scales go with the epilogues of blocks [MM-BLOCK-ORDERS].
void chain_scaled_mm(const ScaledMmArgs& args, Stream stream);
void chain_grouped_mm(const GroupedMmArgs& args, Stream stream);

// ---- mma on CUDA cores (mma_chains.cu) ------------------------------------------------------------------------------
/// For FP8 or fp16 operands and fp32 results; false, and nothing queued, for others.
bool mma_chains(const MmaArgs& args, Stream stream);

// ---- a thread for each output: any unit, any operands, slow (mma.cu) ------------------------------------------------
void mma_scalar(const MmaArgs& args, Stream stream);
void linear_unit_scalar(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
                        Accumulate unit, bf16* out, Stream stream);

}  // namespace fp8ref::cuda
