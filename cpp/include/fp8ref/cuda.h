// SPDX-License-Identifier: Apache-2.0
// The operations over arrays on a CUDA device: names, arguments and bits of fp8ref/cpu.h. All pointers are to memory of
// the device in use, aligned as their type; bf16 and codes need 16 bytes for the fast paths, which an allocation has.
// Work is queued on the stream and nothing waits for it, so the arrays must live until it is done. A failed launch or
// allocation is a DeviceError that names the op; nothing of the call is queued after it. Every GPU of sm_80 and later
// gives the same bits for every accumulator: in hardware where it has that unit, else by emulation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "fp8ref/args.h"
#include "fp8ref/llama.h"
#include "fp8ref/platform.h"
#include "fp8ref/rule_table.h"

struct CUstream_st;

namespace fp8ref::cuda {

using Stream = CUstream_st*;  // cudaStream_t

// ---- the device -----------------------------------------------------------------------------------------------------
struct DeviceInfo {
  std::string name;
  int capability;  // 90 for sm_90
  int multiprocessors;
  std::size_t memory;   // bytes
  int driver, runtime;  // as CUDA numbers them: 13000 for 13.0
};
/// The device in use by this thread. Throws DeviceError where there is no driver or no device, and says which.
DeviceInfo device_info();

// ---- e4m3 -----------------------------------------------------------------------------------------------------------
template <class T>
void encode(const T* x, std::size_t n, Overflow overflow, e4m3* codes, Stream stream);
void decode(const e4m3* codes, std::size_t n, float* x, Stream stream);

// ---- quantize -------------------------------------------------------------------------------------------------------
template <class T>
void quantize(const T* x, std::int64_t rows, std::int64_t cols, const Rule& rule, e4m3* codes, float* scale,
              float upper, Stream stream);
void dequantize(const e4m3* codes, std::int64_t rows, std::int64_t cols, const TileScales& scales, OutDtype out_dtype,
                void* out, Stream stream);

// ---- mma, scaled_mm, grouped_mm -------------------------------------------------------------------------------------
void mma(const MmaArgs& args, Stream stream);
void scaled_mm(const ScaledMmArgs& args, Stream stream);
/// offsets are device memory too, and are read by the kernels: nothing waits for them.
void grouped_mm(const GroupedMmArgs& args, Stream stream);

// ---- linear ---------------------------------------------------------------------------------------------------------
void linear_row_facts(const bf16* rows, std::int64_t n, std::int64_t k, RowFacts* facts, Stream stream);
void linear(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
            const RowFacts* w_facts, bf16* out, Stream stream);
void linear(const bf16* x, const bf16* w, std::int64_t m, std::int64_t n, std::int64_t k, const float* bias,
            Accumulate accumulate, bf16* out, Stream stream);

// ---- rmsnorm, rope, attention ---------------------------------------------------------------------------------------
void rmsnorm(const bf16* x, const bf16* weight, std::int64_t rows, std::int64_t cols, float eps, bf16* out,
             Stream stream);
/// positions and inv are device memory; fp8ref::cpu::rope_frequencies makes inv.
void rope_table(const std::int64_t* positions, std::int64_t count, const float* inv, std::int64_t half, float* cos,
                float* sin, Stream stream);
void rope(const bf16* x, std::int64_t tokens, std::int64_t heads, std::int64_t half, const float* cos, const float* sin,
          RopeLayout layout, bf16* out, Stream stream);
void temperature_factors(const std::int64_t* positions, std::int64_t count, float floor_scale, float attn_scale,
                         float* factors, Stream stream);
void temperature(const bf16* x, std::int64_t tokens, std::int64_t width, const float* factors, bf16* out,
                 Stream stream);
void attention(const AttentionArgs& args, Stream stream);

// ---- route ----------------------------------------------------------------------------------------------------------
void route(const bf16* logits, std::int64_t tokens, std::int64_t experts, std::int64_t top_k, std::int64_t* ids,
           bf16* scores, Stream stream);
void dispatch(const bf16* x, const std::int64_t* ids, const bf16* scores, std::int64_t tokens, std::int64_t top_k,
              std::int64_t cols, std::int64_t experts, bf16* inputs, std::int64_t* order, std::int64_t* offsets,
              Stream stream);
void combine(const bf16* routed, const std::int64_t* order, const bf16* shared, std::int64_t tokens, std::int64_t top_k,
             std::int64_t cols, bf16* out, Stream stream);

// ---- silu_mul, residual, sample -------------------------------------------------------------------------------------
void silu_mul(const bf16* gate, const bf16* up, std::size_t n, bf16* out, Stream stream);
void residual(const bf16* x, const bf16* y, std::size_t n, bf16* out, Stream stream);
void gated_residual(const bf16* x, const bf16* y, const bf16* gate, std::size_t n, bf16* out, Stream stream);
void sample(const float* logits, std::int64_t rows, std::int64_t vocab, std::int64_t* ids, Stream stream);

// ---- two operations in one kernel: the bits are those of one after the other
// ------------------------------------------
/// rmsnorm, then quantize of its rows by a rule of granularity row or a given scale. normed may be nullptr where only
/// the codes are wanted.
void rmsnorm_quantize(const bf16* x, const bf16* weight, std::int64_t rows, std::int64_t cols, float eps,
                      const Rule& rule, bf16* normed, e4m3* codes, float* scale, Stream stream);
/// silu_mul of (rows, cols), then quantize likewise. product may be nullptr.
void silu_mul_quantize(const bf16* gate, const bf16* up, std::int64_t rows, std::int64_t cols, const Rule& rule,
                       bf16* product, e4m3* codes, float* scale, Stream stream);
/// stream_out = residual(x, y), then rmsnorm of it into normed.
void residual_rmsnorm(const bf16* x, const bf16* y, const bf16* weight, std::int64_t rows, std::int64_t cols, float eps,
                      bf16* stream_out, bf16* normed, Stream stream);

// ---- llama ----------------------------------------------------------------------------------------------------------
/// Llama::load on the device in use: tokens and logits are those of the CPU, bit for bit.
std::unique_ptr<Llama> load_llama(const std::string& folder, Accumulate accumulate, Weights weights = Weights::mapped);

}  // namespace fp8ref::cuda
