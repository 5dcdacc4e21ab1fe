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

#include "fp8ref/args.h"
#include "fp8ref/platform.h"
#include "fp8ref/rules.h"

namespace fp8ref {

struct RmsnormArgs {
  const bf16 *x, *weight;
  std::int64_t rows, cols;
  float eps;
  bf16* out;
};
struct LinearArgs {
  const bf16 *x, *w;  // (m, k) and (n, k)
  std::int64_t m, n, k;
  const float* bias;      // (n) or nullptr
  const RowFacts* facts;  // of w
  Accumulate accumulate;  // a mode, or a unit
  bf16* out;
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
  virtual void scaled_mm(const ScaledMmArgs& args) = 0;
  virtual void linear_row_facts(const bf16* rows, std::int64_t n, std::int64_t k, RowFacts* facts) = 0;
  virtual void linear(const LinearArgs& args) = 0;
  virtual void rope(const bf16* x, std::int64_t tokens, std::int64_t heads, std::int64_t half, const float* cos,
                    const float* sin, bf16* out) = 0;
  virtual void attention(const AttentionArgs& args) = 0;
  virtual void silu_mul(const bf16* gate, const bf16* up, std::int64_t n, bf16* out) = 0;
  virtual void residual(const bf16* x, const bf16* y, std::int64_t n, bf16* out) = 0;
  virtual void widen(const bf16* x, std::int64_t n, float* out) = 0;
  virtual void sample(const float* logits, std::int64_t rows, std::int64_t vocab, std::int64_t* ids) = 0;

  // ---- two in one, where that saves a trip through memory
  // -------------------------------------------------------------
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

std::unique_ptr<Ops> cpu_ops();

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
