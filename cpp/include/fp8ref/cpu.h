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

#include "fp8ref/args.h"
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
/// out[i][j] = RN_out(RN32(code * scale)).
void dequantize(const e4m3* codes, std::int64_t rows, std::int64_t cols, const TileScales& scales, OutDtype out_dtype,
                void* out);

// ---- mma ------------------------------------------------------------------------------------------------------------
/// One chain over k for every output. Throws OpError if there is no such unit.
void mma(const MmaArgs& args);

// ---- scaled_mm ------------------------------------------------------------------------------------------------------
void scaled_mm(const ScaledMmArgs& args);

// ---- grouped_mm -----------------------------------------------------------------------------------------------------
void grouped_mm(const GroupedMmArgs& args);

// ---- linear ---------------------------------------------------------------------------------------------------------
void linear_row_facts(const bf16* rows, std::int64_t n, std::int64_t k, RowFacts* facts);
/// out (m, n) = RNbf(RN32(x . w (+ bias))); w_facts: n entries, or nullptr to have them computed.
void linear(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
            const RowFacts* w_facts, bf16* out);
/// The same with the accumulators of a tensor core, or of a mode's, in place of the exact dots. Throws OpError if it
/// takes no bf16, or is exact.
void linear(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
            Accumulate accumulate, bf16* out);

// ---- rmsnorm --------------------------------------------------------------------------------------------------------
/// weight may be nullptr (the weightless form). eps > 0.
void rmsnorm(const bf16* x, const bf16* weight, std::int64_t rows, std::int64_t cols, float eps, bf16* out);

// ---- rope -----------------------------------------------------------------------------------------------------------
/// inv: (head_dim / 2); scaling may be nullptr (default).
void rope_frequencies(std::int64_t head_dim, double base, const RopeScaling* scaling, float* inv);
/// cos, sin: (count, half) from positions (count) and inv (half), correctly rounded to fp32.
void rope_table(const std::int64_t* positions, std::int64_t count, const float* inv, std::int64_t half, float* cos,
                float* sin);
/// x, out: (tokens, heads, 2 * half). out may equal x.
void rope(const bf16* x, std::int64_t tokens, std::int64_t heads, std::int64_t half, const float* cos, const float* sin,
          RopeLayout layout, bf16* out);

// ---- temperature ----------------------------------------------------------------------------------------------------
void temperature_factors(const std::int64_t* positions, std::int64_t count, float floor_scale, float attn_scale,
                         float* factors);
/// x, out: (tokens, width). out may equal x.
void temperature(const bf16* x, std::int64_t tokens, std::int64_t width, const float* factors, bf16* out);

// ---- attention ------------------------------------------------------------------------------------------------------
/// c = RN32(log2(e) * head_dim^-0.5), the default scale.
float attention_log2e_scale(std::int64_t head_dim);
/// c = RN32(log2(e) * scale) for a scale given as a double.
float attention_log2e_scale(double scale);
/// Throws OpError if args.accumulate is no mode.
void attention(const AttentionArgs& args);

// ---- route ----------------------------------------------------------------------------------------------------------
/// logits (tokens, experts); ids and scores (tokens, top_k).
void route(const bf16* logits, std::int64_t tokens, std::int64_t experts, std::int64_t top_k, std::int64_t* ids,
           bf16* scores);
/// x (tokens, cols), ids and scores (tokens, top_k); inputs (tokens * top_k, cols), order (tokens * top_k), offsets
/// (experts + 1).
void dispatch(const bf16* x, const std::int64_t* ids, const bf16* scores, std::int64_t tokens, std::int64_t top_k,
              std::int64_t cols, std::int64_t experts, bf16* inputs, std::int64_t* order, std::int64_t* offsets);
/// routed (tokens * top_k, cols) in that order; shared, out (tokens, cols). out may equal shared.
void combine(const bf16* routed, const std::int64_t* order, const bf16* shared, std::int64_t tokens, std::int64_t top_k,
             std::int64_t cols, bf16* out);

// ---- silu_mul, residual, sample -------------------------------------------------------------------------------------
void silu_mul(const bf16* gate, const bf16* up, std::size_t n, bf16* out);
void residual(const bf16* x, const bf16* y, std::size_t n, bf16* out);
/// gate: one number.
void gated_residual(const bf16* x, const bf16* y, const bf16* gate, std::size_t n, bf16* out);
/// Greedy: ids[r] = the top-1 of logits[r] as spec/sample.md orders them.
void sample(const float* logits, std::int64_t rows, std::int64_t vocab, std::int64_t* ids);

}  // namespace fp8ref::cpu
