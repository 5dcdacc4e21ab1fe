// SPDX-License-Identifier: Apache-2.0
// Where a model runs: memory of a device, and the operations over arrays there. The CPU is one (ops_cpu.cpp), a CUDA
// device another (cuda/llama.cu). Pointers are to the device's memory unless called host. Internal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "fp8ref/args.h"
#include "fp8ref/llama.h"
#include "fp8ref/platform.h"
#include "fp8ref/rules.h"

namespace fp8ref {

struct RmsnormArgs {
  const bf16 *x, *weight;  // weight: nullptr for the weightless form
  std::int64_t rows, cols;
  float eps;
  bf16* out;  // may be x
};
struct RopeArgs {
  const bf16* x;
  std::int64_t tokens, heads, half;
  const float *cos, *sin;
  RopeLayout layout;
  bf16* out;  // may be x
};
struct LinearArgs {
  const bf16 *x, *w;  // (m, k) and (n, k)
  std::int64_t m, n, k;
  const float* bias;      // (n) or nullptr
  const RowFacts* facts;  // of w
  Accumulate accumulate;  // a mode, or a unit
  bf16* out;
};

// ---- mixtures of experts --------------------------------------------------------------------------------------------
struct RouteArgs {
  const bf16* logits;  // (tokens, experts)
  std::int64_t tokens, experts, top_k;
  std::int64_t* ids;  // (tokens, top_k)
  bf16* scores;
};
struct DispatchArgs {
  const bf16* x;  // (tokens, cols)
  const std::int64_t* ids;
  const bf16* scores;
  std::int64_t tokens, top_k, cols, experts;
  bf16* inputs;  // (tokens * top_k, cols)
  std::int64_t *order, *offsets;
};
struct CombineArgs {
  const bf16* routed;  // (tokens * top_k, cols)
  const std::int64_t* order;
  const bf16* shared;  // (tokens, cols)
  std::int64_t tokens, top_k, cols;
  bf16* out;  // may be shared
};
/// Rows that are sorted by expert: those of expert e are offsets[e] to offsets[e + 1] - 1.
struct Groups {
  std::int64_t rows, experts;
  const std::int64_t* offsets;
};
/// The bf16 projection of each expert, kept by keep_experts.
struct GroupedLinearArgs {
  const bf16* x;  // (rows, k)
  Groups groups;
  std::span<const bf16* const> w;  // of each expert
  std::int64_t w_stride;           // as it was where they were kept
  std::int64_t n, k;
  Accumulate accumulate;
  bf16* out;  // (rows, n)
};

class Ops {
 public:
  virtual ~Ops() = default;

  // ---- memory -------------------------------------------------------------------------------------------------------
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* data) noexcept = 0;
  /// Data of the host, there for the life of this object: a copy, or the host's own memory.
  virtual const void* keep(const void* host, std::size_t bytes) = 0;
  virtual void upload(void* to, const void* host, std::size_t bytes) = 0;
  /// Waits for all work before it.
  virtual void download(void* host, const void* from, std::size_t bytes) = 0;
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;
  /// keep, for the same matrix (n, k) of every expert. On a device they lie one after the other.
  virtual std::vector<const e4m3*> keep_experts(std::span<const e4m3* const> host, std::int64_t n, std::int64_t k) = 0;
  /// stride: 0, or element (i, j) of a matrix is host[e][j * stride + i].
  virtual std::vector<const bf16*> keep_experts(std::span<const bf16* const> host, std::int64_t n, std::int64_t k,
                                                std::int64_t stride) = 0;

  // ---- how it likes to work -----------------------------------------------------------------------------------------
  /// Tokens that go through the layers together, to bound the memory of their activations. No bit depends on it.
  virtual std::int64_t chunk() const = 0;
  /// Runs the work, which queues the same operations each time, if on other arrays: it may be kept as one piece.
  virtual void repeat(const std::function<void()>& work) { work(); }

  // ---- operations ---------------------------------------------------------------------------------------------------
  /// Rows `ids` of a table; ids are the host's.
  virtual void gather(const bf16* table, std::span<const std::int64_t> ids, std::int64_t cols, bf16* out) = 0;
  virtual void rmsnorm(const RmsnormArgs& args) = 0;
  virtual void quantize(const bf16* x, std::int64_t rows, std::int64_t cols, const Rule& rule, e4m3* codes,
                        float* scale) = 0;
  virtual void dequantize(const e4m3* codes, std::int64_t rows, std::int64_t cols, const TileScales& scales,
                          bf16* out) = 0;
  virtual void scaled_mm(const ScaledMmArgs& args) = 0;
  virtual void linear_row_facts(const bf16* rows, std::int64_t n, std::int64_t k, RowFacts* facts) = 0;
  virtual void linear(const LinearArgs& args) = 0;
  virtual void rope(const RopeArgs& args) = 0;
  /// x: (tokens, width). out may be x.
  virtual void temperature(const bf16* x, std::int64_t tokens, std::int64_t width, const float* factors, bf16* out) = 0;
  virtual void attention(const AttentionArgs& args) = 0;
  virtual void silu_mul(const bf16* gate, const bf16* up, std::int64_t n, bf16* out) = 0;
  virtual void residual(const bf16* x, const bf16* y, std::int64_t n, bf16* out) = 0;
  virtual void gated_residual(const bf16* x, const bf16* y, const bf16* gate, std::int64_t n, bf16* out) = 0;
  virtual void widen(const bf16* x, std::int64_t n, float* out) = 0;
  virtual void sample(const float* logits, std::int64_t rows, std::int64_t vocab, std::int64_t* ids) = 0;

  // ---- mixtures of experts ------------------------------------------------------------------------------------------
  virtual void route(const RouteArgs& args) = 0;
  virtual void dispatch(const DispatchArgs& args) = 0;
  virtual void combine(const CombineArgs& args) = 0;
  /// quantize by a rule whose scale is given, each row by its expert's of `given`; row_scales: (rows).
  virtual void quantize_experts(const bf16* x, const Groups& groups, std::int64_t cols, const Rule& rule,
                                const float* given, e4m3* codes, float* row_scales) = 0;
  /// weights: kept by keep_experts, in the place of args.all.b.
  virtual void grouped_mm(const GroupedMmArgs& args, std::span<const e4m3* const> weights) = 0;
  virtual void grouped_linear(const GroupedLinearArgs& args) = 0;

  // ---- two in one, where that saves a trip through memory -----------------------------------------------------------
  virtual void rmsnorm_quantize(const RmsnormArgs& args, const Rule& rule, e4m3* codes, float* scale) {
    rmsnorm(args);
    quantize(args.out, args.rows, args.cols, rule, codes, scale);
  }
  virtual void silu_mul_quantize(const bf16* gate, const bf16* up, std::int64_t rows, std::int64_t cols,
                                 const Rule& rule, bf16* product, e4m3* codes, float* scale) {
    silu_mul(gate, up, rows * cols, product);
    quantize(product, rows, cols, rule, codes, scale);
  }
};

/// With `streamed` weights, pages of the storage are given back as soon as a product has used them, those of a large
/// weight after each part of so many bytes. [LLAMA-STREAM]
std::unique_ptr<Ops> cpu_ops(std::shared_ptr<const WeightStorage> storage, Weights weights,
                             std::int64_t part_bytes = std::int64_t{32} << 20);

/// Memory of a device for elements of T; what it holds at first is anything.
template <class T>
class Buffer {
 public:
  Buffer(Ops& ops, std::int64_t count)
      : ops_(&ops), data_(static_cast<T*>(ops.allocate(sizeof(T) * static_cast<std::size_t>(count)))) {}
  Buffer(Ops& ops, std::span<const T> values) : Buffer(ops, static_cast<std::int64_t>(values.size())) {
    ops.upload(data_, values.data(), values.size_bytes());
  }
  Buffer(Buffer&& other) noexcept : ops_(other.ops_), data_(std::exchange(other.data_, nullptr)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(ops_, other.ops_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) ops_->release(data_);
  }

  T* data() const { return data_; }

 private:
  Ops* ops_;
  T* data_;
};

}  // namespace fp8ref
