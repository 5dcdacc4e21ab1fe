// SPDX-License-Identifier: Apache-2.0
// The operations over arrays on the CPU. Row-major, contiguous unless a stride is given; shapes as in spec/<stem>.md.
// No result depends on the number of threads or on the instruction set. Every entry sets the floating-point environment
// of the contract (round to nearest even, no flush to zero) for its threads and restores the caller's.
// Pointers to bf16 and e4m3 data need no alignment beyond that of their type. Shapes are checked by the callers in this
// library (bindings, Llama); sizes of zero are allowed everywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "fp8ref/platform.h"
#include "fp8ref/rule_table.h"

namespace fp8ref::cpu {

/// Threads used by every operation of the process; n <= 0 means all cores. Not to be called while an operation runs.
void set_threads(int n);
int threads();

// ---- e4m3 -----------------------------------------------------------------------------------------------------------
// T: float, double, bf16, fp16
template <class T>
void encode(const T* x, std::size_t n, Overflow overflow, e4m3* codes);
void decode(const e4m3* codes, std::size_t n, float* x);

// ---- quantize -------------------------------------------------------------------------------------------------------
// x: (rows, cols), T: float, bf16, fp16. scale, by the rule's granularity: (rows), one value, (rows, ceil(cols/128)) or
// (ceil(rows/128), ceil(cols/128)). It is read first by rules whose scale is given, and always written. upper: the
// bound of rules that have one, or Inf.
template <class T>
void quantize(const T* x, std::int64_t rows, std::int64_t cols, const Rule& rule, e4m3* codes, float* scale,
              float upper = std::numeric_limits<float>::infinity());
/// Scales of tiles of tile_rows x tile_cols elements, row-major.
struct TileScales {
  const float* data;
  std::int64_t tile_rows, tile_cols;
};
/// out[i][j] = RN_out(RN32(code * scale)).
void dequantize(const e4m3* codes, std::int64_t rows, std::int64_t cols, const TileScales& scales, OutDtype out_dtype,
                void* out);

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
/// One chain over k for every output. Throws OpError if there is no such unit.
void mma(const MmaArgs& args);

// ---- scaled_mm ------------------------------------------------------------------------------------------------------
/// The scales of an operand: one for all rows, one per row, or one per row (or 128 rows) and 128 elements of k.
struct ScaleView {
  const float* data;
  std::int64_t stride;  // from one row's scales to the next: 0, 1 or ceil(k / 128)
  int row_bits = 0;     // 2^row_bits neighbours share their scales: 0 or 7

  const float* of_row(std::int64_t i) const { return data + (i >> row_bits) * stride; }
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
void scaled_mm(const ScaledMmArgs& args);

// ---- grouped_mm -----------------------------------------------------------------------------------------------------
/// One scaled_mm per expert: expert e has the rows offsets[e] .. offsets[e + 1] - 1 of a and of out, and its own
/// weight, scales of b and bias, each `stride` elements after those of the expert before it. Other rows of out are not
/// written.
struct GroupedMmArgs {
  ScaledMmArgs all;  // of all rows; b, b_scale and bias are those of expert 0; all.m is not used
  std::int64_t experts;
  const std::int64_t* offsets;  // (experts + 1), non-decreasing
  std::int64_t b_scale_stride;  // 0: one scale for all experts
};
void grouped_mm(const GroupedMmArgs& args);

// ---- linear ---------------------------------------------------------------------------------------------------------
/// What the certificate needs of one row of weights (spec/linear.md); computed once per weight where it is kept.
struct RowFacts {
  double norm;       // an upper bound of the Euclidean norm of the finite row
  int low_exponent;  // every element is a multiple of 2^low_exponent
  bool finite;       // no NaN, no infinity
};
void linear_row_facts(const bf16* rows, std::int64_t n, std::int64_t k, RowFacts* facts);
/// out (m, n) = RNbf(RN32(x . w (+ bias))); w_facts: n entries, or nullptr to have them computed.
void linear(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
            const RowFacts* w_facts, bf16* out);
/// The same with the accumulators of a tensor core in place of the exact dots. Throws OpError if it takes no bf16.
void linear(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
            Accumulate unit, bf16* out);

// ---- rmsnorm --------------------------------------------------------------------------------------------------------
/// weight may be nullptr (the weightless form). eps > 0.
void rmsnorm(const bf16* x, const bf16* weight, std::int64_t rows, std::int64_t cols, float eps, bf16* out);

// ---- rope -----------------------------------------------------------------------------------------------------------
struct RopeScaling {  // llama3
  double factor, low_freq_factor, high_freq_factor, original_max_position_embeddings;
};
/// inv: (head_dim / 2); scaling may be nullptr (default).
void rope_frequencies(std::int64_t head_dim, double base, const RopeScaling* scaling, float* inv);
/// cos, sin: (count, half) from positions (count) and inv (half), correctly rounded to fp32.
void rope_table(const std::int64_t* positions, std::int64_t count, const float* inv, std::int64_t half, float* cos,
                float* sin);
/// x, out: (tokens, heads, 2 * half); rotate-half with the table rounded to bf16. out may equal x.
void rope(const bf16* x, std::int64_t tokens, std::int64_t heads, std::int64_t half, const float* cos, const float* sin,
          bf16* out);

// ---- attention ------------------------------------------------------------------------------------------------------
struct AttentionArgs {
  const bf16* q;  // (q_len, q_heads, head_dim)
  const bf16* k;  // (kv_len, kv_heads, head_dim); token stride below
  const bf16* v;  // the same
  std::int64_t q_len, kv_len, q_heads, kv_heads, head_dim;
  float log2e_scale;  // c = RN32(log2(e) * scale)
  Mask mask;          // causal: query i sees keys 0 .. kv_len - q_len + i
  bf16* out;          // (q_len, q_heads, head_dim)
};
/// c = RN32(log2(e) * head_dim^-0.5), the default scale.
float attention_log2e_scale(std::int64_t head_dim);
/// c = RN32(log2(e) * scale) for a scale given as a double.
float attention_log2e_scale(double scale);
void attention(const AttentionArgs& args);

// ---- silu_mul, residual, sample -------------------------------------------------------------------------------------
void silu_mul(const bf16* gate, const bf16* up, std::size_t n, bf16* out);
void residual(const bf16* x, const bf16* y, std::size_t n, bf16* out);
/// Greedy: ids[r] = the top-1 of logits[r] as spec/sample.md orders them.
void sample(const float* logits, std::int64_t rows, std::int64_t vocab, std::int64_t* ids);

}  // namespace fp8ref::cpu
