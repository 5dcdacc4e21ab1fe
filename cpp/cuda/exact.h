// SPDX-License-Identifier: Apache-2.0
// The ways to compute accumulate = exact on a CUDA device; all give the same bits. Internal.
#pragma once

#include <cstdint>

#include "fp8ref/args.h"
#include "fp8ref/cuda.h"

namespace fp8ref::cuda {

inline constexpr std::int64_t kMostDepth = std::int64_t{1} << 27;
inline constexpr std::int64_t kSpan = 2674 * 64;  // fp64 is exact to 171,196 [MM-EXACT]

/// One thread for each output over the shared scalar functions: every operand type, scale, epilogue and accumulator.
void scaled_mm_scalar(const GroupedMmArgs& args, Stream stream);

/// Block scales of E4M3 codes, in every order [MM-BLOCK-EXACT], [MM-BLOCK-ORDERS]; k up to kMostDepth. The dots of
/// `workspace` bytes at a time lie in memory.
void scaled_mm_blocks(const GroupedMmArgs& args, Stream stream, std::int64_t workspace = std::int64_t{1} << 30);

// The others take E4M3 codes and one scale for each row (or for all), k up to kMostDepth. They sum `span` of k in one
// launch, a multiple of 64: tests make it small.

/// FP64 tensor cores.
void scaled_mm_f64(const GroupedMmArgs& args, Stream stream, std::int64_t span = kSpan);
/// FP16 tensor cores, for few rows in a group: each weight is read once for 16 of them.
void scaled_mm_f16(const GroupedMmArgs& args, Stream stream, std::int64_t span = kSpan);
/// INT8 tensor cores, after a pass that takes the codes apart into a workspace of this many bytes.
void scaled_mm_s8(const GroupedMmArgs& args, Stream stream, std::int64_t span = kSpan);
std::int64_t s8_workspace(const GroupedMmArgs& args);

}  // namespace fp8ref::cuda
