// SPDX-License-Identifier: Apache-2.0
// The ways to compute accumulate = exact on a CUDA device; all give the same bits. Internal.
#pragma once

#include <cstdint>

#include "fp8ref/args.h"
#include "fp8ref/cuda.h"

namespace fp8ref::cuda {

/// One thread for each output over the shared scalar functions: every operand type, scale, epilogue and accumulator.
void scaled_mm_scalar(const GroupedMmArgs& args, Stream stream);

// The others take E4M3 codes and one scale for each row (or for all), k up to kMostDepth.

/// FP64 tensor cores.
void scaled_mm_f64(const GroupedMmArgs& args, Stream stream);
/// FP16 tensor cores, for few rows in a group: each weight is read once for 16 of them.
void scaled_mm_f16(const GroupedMmArgs& args, Stream stream);
/// INT8 tensor cores, after a pass that takes the codes apart into a workspace of this many bytes.
void scaled_mm_s8(const GroupedMmArgs& args, Stream stream);
std::int64_t s8_workspace(const GroupedMmArgs& args);

}  // namespace fp8ref::cuda
