// SPDX-License-Identifier: Apache-2.0
// What the loops of scaled_mm share. Internal.
#pragma once

#include <cstdint>
#include <vector>

#include "dots.h"
#include "fp8ref/cpu.h"
#include "fp8ref/scaled_mm.h"
#include "output.h"

namespace fp8ref::cpu {

inline constexpr double kDecodedScale = 0x1p16;  // undoes 2^kE4m3Exponent of both operands
inline constexpr int kProductUnit = 2 * Fixed<e4m3>::kUnit;
inline constexpr std::int64_t kWorkPerTask = 1 << 15;  // multiply-adds
static_assert(kE4m3Exponent == -8);

/// The codes of an operand that is E4M3.
inline const e4m3* a_codes(const ScaledMmArgs& args) { return static_cast<const e4m3*>(args.a); }
inline const e4m3* b_codes(const ScaledMmArgs& args) { return static_cast<const e4m3*>(args.b); }
inline DecodedRows<e4m3> a_rows(const ScaledMmArgs& args) { return {a_codes(args), args.k, kernels().decode_e4m3}; }
inline DecodedRows<e4m3> b_rows(const ScaledMmArgs& args) { return {b_codes(args), args.k, kernels().decode_e4m3}; }

/// Which rows have NaN codes.
std::vector<std::uint8_t> nan_rows(const e4m3* codes, std::int64_t rows, std::int64_t k);

/// The accumulators of row i, columns j and on, at most kBlockColumns, scaled and rounded to the output; overwrites
/// them.
void finish_row(const ScaledMmArgs& args, std::int64_t i, std::int64_t j, std::int64_t columns, float* accumulators);

// ---- operands of E5M2 -----------------------------------------------------------------------------------------------
inline bool has_e5m2(const ScaledMmArgs& args) { return args.a_type == Operand::e5m2 || args.b_type == Operand::e5m2; }

/// Codes of E5M2 times 2^kE4m3Exponent, as those of E4M3 are decoded; infinities and NaNs give 0.
void decode_e5m2(const e5m2* codes, std::int64_t n, double* x);

/// One output in fp32 by the scalar semantics.
float exact_element(const ScaledMmArgs& args, std::int64_t i, std::int64_t j);

/// Exact dots, of all of k or of its blocks in a kernel's order, where an operand is E5M2.
void exact_e5m2(const ScaledMmArgs& args);

/// The fp32 results of row i, columns j and on, rounded to the output.
inline void store_row(const ScaledMmArgs& args, std::int64_t i, std::int64_t j, std::int64_t columns,
                      const float* results) {
  store(results, columns, args.out_dtype, args.out, i * args.n + j, args.out_scale, args.overflow);
}

/// Epilogues that scale the dots of blocks one by one.
inline bool ordered_blocks(const ScaledMmArgs& args) {
  return args.epilogue == Epilogue::deepgemm || args.epilogue == Epilogue::triton ||
         args.epilogue == Epilogue::triton_ba;
}

// ---- scales of blocks -----------------------------------------------------------------------------------------------
/// One rounding of the exact sum [MM-BLOCK-EXACT].
void exact_blocks(const ScaledMmArgs& args);
/// RN32 of each block's exact dot, added in a kernel's order [MM-BLOCK-ORDERS].
void exact_dots_of_blocks(const ScaledMmArgs& args);

/// The dots of one block of k for row i, columns j and on, scaled and added to the sums [MM-BLOCK-ORDERS].
void add_block_row(const ScaledMmArgs& args, std::int64_t i, std::int64_t j, std::int64_t columns, std::int64_t block,
                   const float* dots, float* sums);
/// Bias and output rounding for the sums of all blocks; overwrites them.
void finish_block_row(const ScaledMmArgs& args, std::int64_t i, std::int64_t j, std::int64_t columns, float* sums);

}  // namespace fp8ref::cpu
