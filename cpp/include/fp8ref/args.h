// SPDX-License-Identifier: Apache-2.0
// The arguments of the operations over arrays, the same on the CPU (fp8ref/cpu.h) and on a CUDA device (fp8ref/cuda.h,
// where all pointers are to device memory). Row-major, contiguous unless a stride is given; shapes as in
// spec/<stem>.md.
#pragma once

#include <cstdint>

#include "fp8ref/platform.h"

namespace fp8ref {

// ---- quantize -------------------------------------------------------------------------------------------------------
/// Scales of tiles of tile_rows x tile_cols elements, row-major.
struct TileScales {
  const float* data;
  std::int64_t tile_rows, tile_cols;
};

// ---- mma ------------------------------------------------------------------------------------------------------------
struct MmaArgs {
  const void *a, *b;       // (m, k) and (n, k)
  Operand a_type, b_type;  // of one class: e4m3 and e5m2 in any mixture, bf16, or fp16
  std::int64_t m, n, k;
  const void* c;          // (m, n) of out_dtype, or nullptr for +0
  Accumulate accumulate;  // a unit that has such operands and results
  OutDtype out_dtype;     // float32 or float16
  void* out;              // (m, n)
};

// ---- scaled_mm ------------------------------------------------------------------------------------------------------
/// The scales of an operand: one for all rows, one per row, or one per row (or 128 rows) and 128 elements of k.
struct ScaleView {
  const float* data;
  std::int64_t stride;  // from one row's scales to the next: 0, 1 or ceil(k / 128)
  int row_bits = 0;     // 2^row_bits neighbours share their scales: 0 or 7

  FP8REF_HD const float* of_row(std::int64_t i) const { return data + (i >> row_bits) * stride; }
};

enum class Scales { values, blocks };

struct ScaledMmArgs {
  const void* a;  // (m, k), of a_type below
  const void* b;  // (n, k), of b_type
  std::int64_t m, n, k;
  ScaleView a_scale, b_scale;
  const float* bias;  // (n) or nullptr
  Accumulate accumulate;
  Epilogue epilogue;  // deepgemm, triton and triton_ba are for blocks, and all that a tensor core has for them
  OutDtype out_dtype;
  void* out;  // (m, n)
  Scales scales = Scales::values;
  std::int64_t split_k = 1;  // >= 1; 1 with the epilogues of blocks
  float out_scale = 1;       // these two for float8_e4m3fn only
  Overflow overflow = Overflow::saturate;
  Operand a_type = Operand::e4m3, b_type = Operand::e4m3;  // or e5m2
};

// ---- grouped_mm -----------------------------------------------------------------------------------------------------
/// One scaled_mm per expert: expert e has the rows offsets[e] .. offsets[e + 1] - 1 of a and of out, and its own
/// weight, scales of b and bias, each `stride` elements after those of the expert before it. Other rows of out are not
/// written.
struct GroupedMmArgs {
  ScaledMmArgs all;  // of all rows, those of no expert too; b, b_scale and bias are those of expert 0
  std::int64_t experts;
  const std::int64_t* offsets;  // (experts + 1), non-decreasing
  std::int64_t b_scale_stride;  // 0: one scale for all experts
};

// ---- linear ---------------------------------------------------------------------------------------------------------
/// What the certificate needs of one row of weights (spec/linear.md); computed once per weight where it is kept.
struct RowFacts {
  double norm;       // an upper bound of the Euclidean norm of the finite row
  int low_exponent;  // every element is a multiple of 2^low_exponent
  bool finite;       // no NaN, no infinity
};

// ---- rope -----------------------------------------------------------------------------------------------------------
struct RopeScaling {  // llama3
  double factor, low_freq_factor, high_freq_factor, original_max_position_embeddings;
};

// ---- attention ------------------------------------------------------------------------------------------------------
struct AttentionArgs {
  const bf16* q;  // (q_len, q_heads, head_dim)
  const bf16* k;  // (kv_len, kv_heads, head_dim); token stride below
  const bf16* v;  // the same
  std::int64_t q_len, kv_len, q_heads, kv_heads, head_dim;
  float log2e_scale;                          // c = RN32(log2(e) * scale)
  Mask mask;                                  // causal: query i sees keys 0 .. kv_len - q_len + i
  bf16* out;                                  // (q_len, q_heads, head_dim)
  Accumulate accumulate = Accumulate::exact;  // or another mode
  std::int64_t chunk = 0;                     // of mask chunked: at least 1

  /// Query heads that share a kv head. The rows of that head are its queries and, for each, those query heads.
  FP8REF_HD std::int64_t group() const { return q_heads / kv_heads; }
  /// Where a row of a kv head begins in q and out.
  FP8REF_HD std::int64_t row_element(std::int64_t kv_head, std::int64_t row) const {
    return (row / group() * q_heads + kv_head * group() + row % group()) * head_dim;
  }
  /// The first key that a row sees. [ATTN-VISIBLE]
  FP8REF_HD std::int64_t first_visible(std::int64_t row) const {
    return mask == Mask::chunked ? (visible(row) - 1) / chunk * chunk : 0;
  }
  /// The end of the keys that a row sees. [ATTN-VISIBLE]
  FP8REF_HD std::int64_t visible(std::int64_t row) const {
    return mask == Mask::full ? kv_len : kv_len - q_len + row / group() + 1;
  }
};

}  // namespace fp8ref
