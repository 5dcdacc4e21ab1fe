// SPDX-License-Identifier: Apache-2.0
// The CPU as the place where a model runs.
#include <algorithm>
#include <cstring>
#include <new>

#include "fp8ref/checkpoint.h"
#include "fp8ref/cpu.h"
#include "fp8ref/round.h"
#include "groups.h"
#include "ops.h"
#include "parallel.h"

namespace fp8ref {
namespace {

/// Bytes of a matrix (n, k), or of one whose element (i, j) is w[j * stride + i]. [CKPT-EXPERTS]
template <class T>
std::span<const std::byte> bytes_of(const T* w, std::int64_t n, std::int64_t k, std::int64_t stride = 0) {
  const std::int64_t count = stride == 0 || k == 0 ? n * k : (k - 1) * stride + n;
  return std::as_bytes(std::span(w, static_cast<std::size_t>(count)));
}

/// The product of all that a model is asked for with bf16 weights; facts: nullptr to have them computed.
void exact_or_unit(const LinearArgs& a) {
  if (a.accumulate == Accumulate::exact) {
    cpu::linear(a.x, a.w, a.m, a.n, a.k, a.bias, a.facts, a.out);
  } else {
    cpu::linear(a.x, a.w, a.m, a.n, a.k, a.bias, a.accumulate, a.out);
  }
}

/// The same with a weight that lies the other way, element (i, j) at w[j * stride + i]: a few of its columns at a time
/// become rows.
void linear_of_columns(const LinearArgs& a, std::int64_t stride) {
  constexpr std::int64_t kColumns = 128, kLine = 32;
  cpu::parallel_for(a.n, kColumns, [&](std::int64_t begin, std::int64_t end) {
    std::vector<bf16> rows(static_cast<std::size_t>(kColumns * a.k)), out(static_cast<std::size_t>(a.m * kColumns));
    for (std::int64_t first = begin; first < end; first += kColumns) {
      const std::int64_t columns = std::min(kColumns, end - first);
      for (std::int64_t j = 0; j < a.k; j += kLine) {  // tiles that stay in the cache
        const bf16* source = a.w + j * stride + first;
        const std::int64_t line = std::min(kLine, a.k - j);
        for (std::int64_t i = 0; i < columns; ++i) {
          bf16* row = rows.data() + i * a.k + j;
          for (std::int64_t l = 0; l < line; ++l) row[l] = source[l * stride + i];
        }
      }
      exact_or_unit({a.x, rows.data(), a.m, columns, a.k, nullptr, nullptr, a.accumulate, out.data()});
      for (std::int64_t i = 0; i < a.m; ++i) std::copy_n(out.data() + i * columns, columns, a.out + i * a.n + first);
    }
  });
}

class CpuOps final : public Ops {
 public:
  CpuOps(std::shared_ptr<const WeightStorage> storage, Weights weights, std::int64_t part_bytes)
      : storage_(std::move(storage)), streamed_(weights == Weights::streamed), part_bytes_(part_bytes) {}

  void* allocate(std::size_t bytes) override { return ::operator new(bytes); }
  void release(void* data) noexcept override { ::operator delete(data); }
  const void* keep(const void* host, std::size_t) override { return host; }
  void upload(void* to, const void* host, std::size_t bytes) override { copy(to, host, bytes); }
  void download(void* host, const void* from, std::size_t bytes) override { copy(host, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override {
    if (bytes != 0) std::memcpy(to, from, bytes);
  }
  std::vector<const e4m3*> keep_experts(std::span<const e4m3* const> host, std::int64_t, std::int64_t) override {
    return {host.begin(), host.end()};
  }
  std::vector<const bf16*> keep_experts(std::span<const bf16* const> host, std::int64_t, std::int64_t,
                                        std::int64_t) override {
    return {host.begin(), host.end()};
  }
  std::int64_t chunk() const override { return 512; }

  void gather(const bf16* table, std::span<const std::int64_t> ids, std::int64_t cols, bf16* out) override {
    for (const std::int64_t id : ids) {
      out = std::copy_n(table + id * cols, cols, out);
      used(bytes_of(table + id * cols, 1, cols));
    }
  }
  void rmsnorm(const RmsnormArgs& args) override {
    cpu::rmsnorm(args.x, args.weight, args.rows, args.cols, args.eps, args.out);
  }
  void quantize(const bf16* x, std::int64_t rows, std::int64_t cols, const Rule& rule, e4m3* codes,
                float* scale) override {
    cpu::quantize(x, rows, cols, rule, codes, scale);
  }
  void dequantize(const e4m3* codes, std::int64_t rows, std::int64_t cols, const TileScales& scales,
                  bf16* out) override {
    cpu::dequantize(codes, rows, cols, scales, OutDtype::bfloat16, out);
  }
  void scaled_mm(const ScaledMmArgs& args) override {
    in_parts(static_cast<const e4m3*>(args.b), args.m, args.n, args.k, static_cast<bf16*>(args.out),
             [&](const e4m3* w, std::int64_t first, std::int64_t rows, bf16* out) {
               ScaledMmArgs part = args;
               part.b = w;
               part.n = rows;
               part.b_scale.data = args.b_scale.of_row(first);
               if (part.bias != nullptr) part.bias += first;
               part.out = out;
               cpu::scaled_mm(part);
             });
  }
  void linear_row_facts(const bf16* rows, std::int64_t n, std::int64_t k, RowFacts* facts) override {
    const std::int64_t most = rows_of_part(n, k * std::int64_t{sizeof(bf16)});
    for (std::int64_t first = 0; first < n; first += most) {
      const std::int64_t count = std::min(most, n - first);
      cpu::linear_row_facts(rows + first * k, count, k, facts + first);
      used(bytes_of(rows + first * k, count, k));
    }
  }
  void linear(const LinearArgs& args) override {
    in_parts(args.w, args.m, args.n, args.k, args.out,
             [&](const bf16* w, std::int64_t first, std::int64_t rows, bf16* out) {
               const float* bias = args.bias == nullptr ? nullptr : args.bias + first;
               const RowFacts* facts = args.facts == nullptr ? nullptr : args.facts + first;
               exact_or_unit({args.x, w, args.m, rows, args.k, bias, facts, args.accumulate, out});
             });
  }
  void rope(const RopeArgs& a) override { cpu::rope(a.x, a.tokens, a.heads, a.half, a.cos, a.sin, a.layout, a.out); }
  void temperature(const bf16* x, std::int64_t tokens, std::int64_t width, const float* factors, bf16* out) override {
    cpu::temperature(x, tokens, width, factors, out);
  }
  void attention(const AttentionArgs& args) override { cpu::attention(args); }
  void silu_mul(const bf16* gate, const bf16* up, std::int64_t n, bf16* out) override {
    cpu::silu_mul(gate, up, static_cast<std::size_t>(n), out);
  }
  void residual(const bf16* x, const bf16* y, std::int64_t n, bf16* out) override {
    cpu::residual(x, y, static_cast<std::size_t>(n), out);
  }
  void gated_residual(const bf16* x, const bf16* y, const bf16* gate, std::int64_t n, bf16* out) override {
    cpu::gated_residual(x, y, gate, static_cast<std::size_t>(n), out);
  }
  void widen(const bf16* x, std::int64_t n, float* out) override {
    cpu::parallel_for(n, 1 << 14, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = fp8ref::widen(x[i]);
    });
  }
  void sample(const float* logits, std::int64_t rows, std::int64_t vocab, std::int64_t* ids) override {
    cpu::sample(logits, rows, vocab, ids);
  }
  void route(const RouteArgs& a) override { cpu::route(a.logits, a.tokens, a.experts, a.top_k, a.ids, a.scores); }
  void dispatch(const DispatchArgs& a) override {
    cpu::dispatch(a.x, a.ids, a.scores, a.tokens, a.top_k, a.cols, a.experts, a.inputs, a.order, a.offsets);
  }
  void combine(const CombineArgs& a) override {
    cpu::combine(a.routed, a.order, a.shared, a.tokens, a.top_k, a.cols, a.out);
  }
  void quantize_experts(const bf16* x, const Groups& groups, std::int64_t cols, const Rule& rule, const float* given,
                        e4m3* codes, float* row_scales) override {
    cpu::for_groups(groups.offsets, groups.experts, [&](std::int64_t expert, std::int64_t row, std::int64_t rows) {
      float scale = given[expert];
      cpu::quantize(x + row * cols, rows, cols, rule, codes + row * cols, &scale);
      std::fill_n(row_scales + row, rows, scale);
    });
  }
  void grouped_mm(const GroupedMmArgs& args, std::span<const e4m3* const> weights) override {
    cpu::for_groups(args.offsets, args.experts, [&](std::int64_t expert, std::int64_t, std::int64_t) {
      ScaledMmArgs one = cpu::group(args, expert);
      one.b = weights[static_cast<std::size_t>(expert)];
      storage_->prefetch(bytes_of(static_cast<const e4m3*>(one.b), one.n, one.k));
      scaled_mm(one);
    });
  }
  void grouped_linear(const GroupedLinearArgs& a) override {
    cpu::for_groups(a.groups.offsets, a.groups.experts, [&](std::int64_t expert, std::int64_t row, std::int64_t rows) {
      const bf16* w = a.w[static_cast<std::size_t>(expert)];
      const std::span<const std::byte> bytes = bytes_of(w, a.n, a.k, a.w_stride);
      const LinearArgs one{a.x + row * a.k, w, rows, a.n, a.k, nullptr, nullptr, a.accumulate, a.out + row * a.n};
      storage_->prefetch(bytes);
      if (a.w_stride == 0) return linear(one);
      linear_of_columns(one, a.w_stride);
      used(bytes);
    });
  }

 private:
  /// Weights that are not needed for now. [LLAMA-STREAM]
  void used(std::span<const std::byte> weights) const {
    if (streamed_) storage_->release(weights);
  }

  /// How many of a weight's n rows are worked on before their pages are given back: whole blocks of scales.
  std::int64_t rows_of_part(std::int64_t n, std::int64_t row_bytes) const {
    constexpr std::int64_t kBlock = 128;
    if (!streamed_ || n * row_bytes <= part_bytes_) return std::max<std::int64_t>(n, 1);
    return std::max(kBlock, part_bytes_ / row_bytes / kBlock * kBlock);
  }

  /// out (m, n), some columns after the other: product(w, first, rows, out) makes columns first to first + rows - 1
  /// with these rows of the weight.
  template <class T, class Product>
  void in_parts(const T* w, std::int64_t m, std::int64_t n, std::int64_t k, bf16* out, const Product& product) const {
    const std::int64_t most = rows_of_part(n, k * std::int64_t{sizeof(T)});
    std::vector<bf16> columns(most < n ? static_cast<std::size_t>(m * most) : 0);
    for (std::int64_t first = 0; first < n; first += most) {
      const std::int64_t rows = std::min(most, n - first);
      product(w + first * k, first, rows, most < n ? columns.data() : out);
      used(bytes_of(w + first * k, rows, k));
      for (std::int64_t i = 0; i < m && most < n; ++i) {
        std::copy_n(columns.data() + i * rows, rows, out + i * n + first);
      }
    }
  }

  const std::shared_ptr<const WeightStorage> storage_;
  const bool streamed_;
  const std::int64_t part_bytes_;
};

}  // namespace

std::unique_ptr<Ops> cpu_ops(std::shared_ptr<const WeightStorage> storage, Weights weights, std::int64_t part_bytes) {
  return std::make_unique<CpuOps>(std::move(storage), weights, part_bytes);
}

}  // namespace fp8ref
