// SPDX-License-Identifier: Apache-2.0
// The CPU as the place where a model runs.
#include <algorithm>
#include <cstring>
#include <new>

#include "fp8ref/cpu.h"
#include "fp8ref/round.h"
#include "ops.h"
#include "parallel.h"

namespace fp8ref {
namespace {

class CpuOps final : public Ops {
 public:
  void* allocate(std::size_t bytes) override { return ::operator new(bytes); }
  void release(void* data) noexcept override { ::operator delete(data); }
  const void* keep(const void* host, std::size_t) override { return host; }
  void upload(void* to, const void* host, std::size_t bytes) override { copy(to, host, bytes); }
  void download(void* host, const void* from, std::size_t bytes) override { copy(host, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override {
    if (bytes != 0) std::memcpy(to, from, bytes);
  }
  std::int64_t chunk() const override { return 512; }

  void gather(const bf16* table, std::span<const std::int64_t> ids, std::int64_t cols, bf16* out) override {
    for (const std::int64_t id : ids) out = std::copy_n(table + id * cols, cols, out);
  }
  void rmsnorm(const RmsnormArgs& args) override {
    cpu::rmsnorm(args.x, args.weight, args.rows, args.cols, args.eps, args.out);
  }
  void quantize(const bf16* x, std::int64_t rows, std::int64_t cols, const Rule& rule, e4m3* codes,
                float* scale) override {
    cpu::quantize(x, rows, cols, rule, codes, scale);
  }
  void scaled_mm(const ScaledMmArgs& args) override { cpu::scaled_mm(args); }
  void linear_row_facts(const bf16* rows, std::int64_t n, std::int64_t k, RowFacts* facts) override {
    cpu::linear_row_facts(rows, n, k, facts);
  }
  void linear(const LinearArgs& args) override {
    if (args.accumulate == Accumulate::exact) {
      cpu::linear(args.x, args.w, args.m, args.n, args.k, args.bias, args.facts, args.out);
    } else {
      cpu::linear(args.x, args.w, args.m, args.n, args.k, args.bias, args.accumulate, args.out);
    }
  }
  void rope(const bf16* x, std::int64_t tokens, std::int64_t heads, std::int64_t half, const float* cos,
            const float* sin, bf16* out) override {
    cpu::rope(x, tokens, heads, half, cos, sin, RopeLayout::rotate_half, out);
  }
  void attention(const AttentionArgs& args) override { cpu::attention(args); }
  void silu_mul(const bf16* gate, const bf16* up, std::int64_t n, bf16* out) override {
    cpu::silu_mul(gate, up, static_cast<std::size_t>(n), out);
  }
  void residual(const bf16* x, const bf16* y, std::int64_t n, bf16* out) override {
    cpu::residual(x, y, static_cast<std::size_t>(n), out);
  }
  void widen(const bf16* x, std::int64_t n, float* out) override {
    cpu::parallel_for(n, 1 << 14, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = fp8ref::widen(x[i]);
    });
  }
  void sample(const float* logits, std::int64_t rows, std::int64_t vocab, std::int64_t* ids) override {
    cpu::sample(logits, rows, vocab, ids);
  }
};

}  // namespace

std::unique_ptr<Ops> cpu_ops() { return std::make_unique<CpuOps>(); }

}  // namespace fp8ref
