// SPDX-License-Identifier: Apache-2.0
// The C ABI of the operations of fp8ref: what libfp8ref exports, and what a library of your own exports to be checked
// by `fp8ref check --library libx.so`. C99 and C++; this header needs nothing else. spec/c_abi.md says the same in
// clauses, spec/<page>.md what each function computes.
//
// Every function is optional in a library of your own: one that is missing is unsupported, and so is a call that
// answers FP8REF_UNSUPPORTED.
#ifndef FP8REF_FP8REF_H
#define FP8REF_FP8REF_H

#include <stddef.h>  // NULL
#include <stdint.h>

// Raised when a function or a type below changes. New functions, types of elements and statuses do not raise it.
#define FP8REF_ABI_VERSION 2

// Before each function: it is exported, whatever the compiler's default is.
#if defined(_WIN32) && defined(FP8REF_IMPORT)
#define FP8REF_API __declspec(dllimport)
#elif defined(_WIN32)
#define FP8REF_API __declspec(dllexport)
#else
#define FP8REF_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

// ---- statuses -------------------------------------------------------------------------------------------------------

typedef int32_t fp8ref_status;
enum {
  FP8REF_OK = 0,
  FP8REF_UNSUPPORTED = 1,       // the arguments have a meaning, but this library does not compute it
  FP8REF_INVALID_ARGUMENT = 2,  // the arguments have no meaning: shapes, types, policies, values
  FP8REF_ERROR = 3              // anything else: no memory, a device that fails
};

// ---- tensors --------------------------------------------------------------------------------------------------------

typedef int32_t fp8ref_dtype;
enum {
  FP8REF_FLOAT32 = 1,
  FP8REF_FLOAT64 = 2,
  FP8REF_FLOAT16 = 3,
  FP8REF_BFLOAT16 = 4,
  FP8REF_FLOAT8_E4M3FN = 5,  // S.1111.111 is NaN, no infinity, largest 448
  FP8REF_FLOAT8_E5M2 = 6,
  FP8REF_FLOAT8_E8M0FNU = 7,  // 2^(code - 127), 255 is NaN
  FP8REF_INT32 = 8,
  FP8REF_INT64 = 9
};

// Elements in row-major order without gaps, in memory of the host, aligned to the size of an element.
typedef struct fp8ref_tensor {
  void* data;            // inputs are not written; may be NULL where there are no elements
  const int64_t* shape;  // ndim sizes >= 0; may be NULL where ndim is 0: one element
  int32_t ndim;
  fp8ref_dtype dtype;
} fp8ref_tensor;

// The numbers of llama3 scaling.
typedef struct fp8ref_rope_scaling {
  double factor;
  double low_freq_factor;
  double high_freq_factor;
  double original_max_position_embeddings;
} fp8ref_rope_scaling;

// ---- the operations -------------------------------------------------------------------------------------------------
// Inputs first, in the order of the Python functions of the same names; outputs last, made by the caller with the
// shape and the type of the result. What Python calls out_dtype is the type of the output. Policies are the strings of
// the specification, such as "exact"; no argument has a default. NULL is Python's None, only where a comment has "or
// NULL". Outputs share no memory with inputs. Where the status is not FP8REF_OK they may hold anything.

// x: float64, float32, float16 or bfloat16, any shape. overflow: "saturate" or "nan". codes: E4M3, the shape of x.
FP8REF_API fp8ref_status fp8ref_encode(const fp8ref_tensor* x, const char* overflow, fp8ref_tensor* codes);

// codes: E4M3, any shape. values: float32, the same shape.
FP8REF_API fp8ref_status fp8ref_decode(const fp8ref_tensor* codes, fp8ref_tensor* values);

// x: bfloat16, float16 or float32, (rows, K), or any shape for rules with one scale. rule: a name of spec/quantize.md.
// scale: one float32 value for rules whose scale is given, else NULL. scale_ub: one float32 value or NULL.
// codes: E4M3, the shape of x. scale_out: float32; (), (rows, 1), (rows, ceil(K / 128)) or
// (ceil(rows / 128), ceil(K / 128)), as the rule has it.
FP8REF_API fp8ref_status fp8ref_quantize(const fp8ref_tensor* x, const char* rule, const fp8ref_tensor* scale,
                                         const fp8ref_tensor* scale_ub, fp8ref_tensor* codes, fp8ref_tensor* scale_out);

// codes: E4M3. scale: one value, or for codes (rows, K) of one of the shapes above. values: float32, bfloat16 or
// float16, the shape of codes.
FP8REF_API fp8ref_status fp8ref_dequantize(const fp8ref_tensor* codes, const fp8ref_tensor* scale,
                                           fp8ref_tensor* values);

// a: (M, K), b: (N, K), of one class: FP8, bfloat16 or float16. c: (M, N) of the type of out, or NULL.
// accumulate: a tensor core, such as "sm90_wgmma". out: (M, N) float32 or float16.
FP8REF_API fp8ref_status fp8ref_mma(const fp8ref_tensor* a, const fp8ref_tensor* b, const fp8ref_tensor* c,
                                    const char* accumulate, fp8ref_tensor* out);

// a: (M, K), b: (N, K), E4M3 or E5M2. Scales are float32, bfloat16, float16 or E8M0, sign bit clear.
// a_scale: one value of shape (), (1,) or (1, 1); (M, 1); or (M, ceil(K / 128)).
// b_scale: one value; (N, 1); (ceil(N / 128), ceil(K / 128)); or (N, ceil(K / 128)).
// bias: (N,) float32, bfloat16 or float16, or NULL. accumulate: "exact" or a tensor core. epilogue: "a_b", "b_a",
// "ab"; for blocks also "deepgemm", "triton", "triton_ba". split_k: 1 to 2^31 - 1.
// out_scale, overflow: one value, and "saturate" or "nan", if out is E4M3, else NULL.
// out: (M, N) float32, bfloat16, float16 or E4M3.
FP8REF_API fp8ref_status fp8ref_scaled_mm(const fp8ref_tensor* a, const fp8ref_tensor* b, const fp8ref_tensor* a_scale,
                                          const fp8ref_tensor* b_scale, const fp8ref_tensor* bias,
                                          const char* accumulate, const char* epilogue, int64_t split_k,
                                          const fp8ref_tensor* out_scale, const char* overflow, fp8ref_tensor* out);

// a: (R, K); b: (E, N, K); offsets: (E + 1,) int32 or int64, the first row of each expert and the end of the last.
// a_scale: one value, (R, 1) or (R, ceil(K / 128)). b_scale: one value, (E,), (E, N, 1) or (E, ceil(N / 128) or N,
// ceil(K / 128)). bias: (E, N) or NULL. Policies as above.
// out: (R, N). Rows of no expert are not written: they keep what the caller has put there.
FP8REF_API fp8ref_status fp8ref_grouped_mm(const fp8ref_tensor* a, const fp8ref_tensor* b, const fp8ref_tensor* a_scale,
                                           const fp8ref_tensor* b_scale, const fp8ref_tensor* offsets,
                                           const fp8ref_tensor* bias, const char* accumulate, const char* epilogue,
                                           int64_t split_k, const fp8ref_tensor* out_scale, const char* overflow,
                                           fp8ref_tensor* out);

// x: (M, K), weight: (N, K), bfloat16. bias: (N,) float32, bfloat16 or float16, or NULL. accumulate: "exact", a
// tensor core or a mode such as "sm90". out: (M, N) bfloat16.
FP8REF_API fp8ref_status fp8ref_linear(const fp8ref_tensor* x, const fp8ref_tensor* weight, const fp8ref_tensor* bias,
                                       const char* accumulate, fp8ref_tensor* out);

// x: (..., K) bfloat16. weight: (K,) bfloat16 or NULL. eps > 0, rounded to float32. out: bfloat16, the shape of x.
FP8REF_API fp8ref_status fp8ref_rmsnorm(const fp8ref_tensor* x, const fp8ref_tensor* weight, double eps,
                                        fp8ref_tensor* out);

// head_dim: even. base > 0. scaling: or NULL. frequencies: (head_dim / 2,) float32.
FP8REF_API fp8ref_status fp8ref_rope_frequencies(int64_t head_dim, double base, const fp8ref_rope_scaling* scaling,
                                                 fp8ref_tensor* frequencies);

// positions: (T,) int32 or int64, in [0, 2^24). frequencies: (F,) float32. cos, sin: (T, F) float32.
FP8REF_API fp8ref_status fp8ref_rope_table(const fp8ref_tensor* positions, const fp8ref_tensor* frequencies,
                                           fp8ref_tensor* cos, fp8ref_tensor* sin);

// x: (T, heads, d) bfloat16, d even. cos, sin: (T, d / 2) float32. layout: "rotate_half" or "interleaved". out:
// bfloat16, the shape of x.
FP8REF_API fp8ref_status fp8ref_rope(const fp8ref_tensor* x, const fp8ref_tensor* cos, const fp8ref_tensor* sin,
                                     const char* layout, fp8ref_tensor* out);

// positions: (T,) int32 or int64, in [0, 2^24). floor_scale, attn_scale > 0, rounded to float32. factors: (T,) float32.
FP8REF_API fp8ref_status fp8ref_temperature_factors(const fp8ref_tensor* positions, double floor_scale,
                                                    double attn_scale, fp8ref_tensor* factors);

// x: (T, heads, d) bfloat16. factors: (T,) float32. out: bfloat16, the shape of x.
FP8REF_API fp8ref_status fp8ref_temperature(const fp8ref_tensor* x, const fp8ref_tensor* factors, fp8ref_tensor* out);

// q: (T, Hq, d), k, v: (S, Hkv, d), bfloat16, Hq a multiple of Hkv. scale: a factor of the scores, or NULL for
// d^-0.5. mask: "causal", "chunked" or "full". accumulate: "exact" or a mode such as "sm90". chunk: >= 1 with mask
// "chunked", else NULL. out: bfloat16, the shape of q.
FP8REF_API fp8ref_status fp8ref_attention(const fp8ref_tensor* q, const fp8ref_tensor* k, const fp8ref_tensor* v,
                                          const double* scale, const char* mask, const char* accumulate,
                                          const int64_t* chunk, fp8ref_tensor* out);

// logits: (T, E) bfloat16, 1 <= E <= 2^20. top_k: 1 to E. experts: (T, top_k) int64. scores: (T, top_k) bfloat16.
FP8REF_API fp8ref_status fp8ref_route(const fp8ref_tensor* logits, int64_t top_k, fp8ref_tensor* experts,
                                      fp8ref_tensor* scores);

// x: (T, H) bfloat16. experts: (T, k) int32 or int64, in [0, num_experts). scores: (T, k) bfloat16. num_experts: 1 to
// 2^20. inputs: (T * k, H) bfloat16. order: (T * k,) int64. offsets: (num_experts + 1,) int64.
FP8REF_API fp8ref_status fp8ref_dispatch(const fp8ref_tensor* x, const fp8ref_tensor* experts,
                                         const fp8ref_tensor* scores, int64_t num_experts, fp8ref_tensor* inputs,
                                         fp8ref_tensor* order, fp8ref_tensor* offsets);

// routed: (T * k, H) bfloat16. order: (T * k,) int32 or int64, a permutation. shared: (T, H) bfloat16. out: bfloat16,
// the shape of shared.
FP8REF_API fp8ref_status fp8ref_combine(const fp8ref_tensor* routed, const fp8ref_tensor* order,
                                        const fp8ref_tensor* shared, fp8ref_tensor* out);

// gate, up: bfloat16 of one shape. out: bfloat16, the same shape.
FP8REF_API fp8ref_status fp8ref_silu_mul(const fp8ref_tensor* gate, const fp8ref_tensor* up, fp8ref_tensor* out);

// x, y: bfloat16 of one shape. out: bfloat16, the same shape.
FP8REF_API fp8ref_status fp8ref_residual(const fp8ref_tensor* x, const fp8ref_tensor* y, fp8ref_tensor* out);

// x, y: bfloat16 of one shape. gate: (1,) bfloat16. out: bfloat16, the shape of x.
FP8REF_API fp8ref_status fp8ref_gated_residual(const fp8ref_tensor* x, const fp8ref_tensor* y,
                                               const fp8ref_tensor* gate, fp8ref_tensor* out);

// logits: (..., V) float32 or bfloat16, V >= 1. ids: (...) int64.
FP8REF_API fp8ref_status fp8ref_sample(const fp8ref_tensor* logits, fp8ref_tensor* ids);

// ---- the library ----------------------------------------------------------------------------------------------------

// FP8REF_ABI_VERSION of the header that the library was built with. A library without it is taken for version 1.
FP8REF_API int32_t fp8ref_abi_version(void);

// The library's own version, for reports; never NULL.
FP8REF_API const char* fp8ref_version(void);

// Why the last call of this thread did not answer FP8REF_OK; "" if it did, or there was none. Never NULL; it holds
// until the thread's next call.
FP8REF_API const char* fp8ref_last_error(void);

// Compute with so many threads from now on; n <= 0 means all cores. No bit depends on it. Not to be called while
// another call runs.
FP8REF_API fp8ref_status fp8ref_set_threads(int32_t n);

#ifdef __cplusplus
}
#endif

#endif
