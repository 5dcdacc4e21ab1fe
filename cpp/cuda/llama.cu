// SPDX-License-Identifier: Apache-2.0
// A CUDA device as the place where a model runs (spec/llama.md). All work goes to one stream of its own; weights are
// copied to the device once; a decode step is kept as a CUDA graph, of which only the arguments change.
#include <map>
#include <utility>
#include <vector>

#include "cuda/device.h"
#include "cuda/interop.h"
#include "cuda/launch.h"
#include "cuda/quantize.h"
#include "cuda/workspace.h"
#include "fp8ref/cuda.h"
#include "fp8ref/llama.h"
#include "llama_pass.h"
#include "ops.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void gather_kernel(const bf16* table, const std::int64_t* ids, std::int64_t rows, std::int64_t cols,
                              bf16* out) {
  for (std::int64_t i = grid_thread(); i < rows * cols; i += grid_threads()) {
    out[i] = table[ids[i / cols] * cols + i % cols];
  }
}

/// out[i][j] = columns[j][i], (n, k) of them; the columns are `stride` numbers apart.
__global__ void transpose_kernel(const bf16* columns, std::int64_t n, std::int64_t k, std::int64_t stride, bf16* out) {
  for (std::int64_t at = grid_thread(); at < n * k; at += grid_threads()) {
    out[at] = columns[at % k * stride + at / k];
  }
}

/// A block takes a row; all rows of an expert are quantized by its given scale.
__global__ void quantize_experts_kernel(const bf16* x, const Groups groups, std::int64_t cols,
                                        const __grid_constant__ Rule rule, const float* given, e4m3* codes,
                                        float* row_scales) {
  const std::int64_t row = blockIdx.x;
  std::int64_t expert = 0, end = groups.experts;  // the last expert whose rows begin at or before this one
  while (end - expert > 1) {
    const std::int64_t middle = (expert + end) / 2;
    (groups.offsets[middle] <= row ? expert : end) = middle;
  }
  const Factors factors = factors_of_given(rule, given[expert]);
  const Divisor divisor = divisor_of(rule, factors.factor);
  for (std::int64_t i = row * cols + threadIdx.x; i < (row + 1) * cols; i += blockDim.x) {
    store(codes_of(load<1>(x + i), rule, divisor), codes + i);
  }
  if (threadIdx.x == 0) row_scales[row] = factors.scale;
}

/// A stream, and the graph of the work that is done on it again and again.
class Queue {
 public:
  Queue() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "llama"); }
  ~Queue() {
    if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
    cudaStreamDestroy(stream_);
  }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  cudaStream_t stream() const { return stream_; }

  /// Queues the work as one graph; false if this device cannot, and nothing was done.
  bool repeat(const std::function<void()>& work) {
    if (cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
      cudaGetLastError();
      return false;
    }
    cudaGraph_t graph = nullptr;
    try {
      work();
    } catch (...) {
      cudaStreamEndCapture(stream_, &graph);
      if (graph != nullptr) cudaGraphDestroy(graph);
      cudaGetLastError();
      throw;
    }
    check(cudaStreamEndCapture(stream_, &graph), "llama");
    const cudaError_t error = renew(graph);
    cudaGraphDestroy(graph);
    check(error, "llama");
    check(cudaGraphLaunch(graph_, stream_), "llama");
    return true;
  }

 private:
  /// New arguments for the nodes of the graph at hand, or, where its shape is another, a graph of its own.
  cudaError_t renew(cudaGraph_t graph) {
#if !defined(FP8REF_SIMT)
    cudaGraphExecUpdateResultInfo info;
    if (graph_ != nullptr && cudaGraphExecUpdate(graph_, graph, &info) == cudaSuccess) return cudaSuccess;
    cudaGetLastError();
#endif
    if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
    graph_ = nullptr;
    return cudaGraphInstantiate(&graph_, graph, 0);
  }

  cudaStream_t stream_ = nullptr;
  cudaGraphExec_t graph_ = nullptr;
};

class CudaOps final : public Ops {
 public:
  CudaOps(std::shared_ptr<const WeightStorage> storage, Weights weights)
      : storage_(std::move(storage)), weights_(weights) {}
  ~CudaOps() override {
    for (const auto& [host, kept] : kept_) cudaFree(kept);
    for (void* kept : experts_) cudaFree(kept);
  }

  void* allocate(std::size_t bytes) override {
    void* data = nullptr;
    const cudaError_t error = cudaMalloc(&data, bytes == 0 ? 1 : bytes);
    if (error != cudaSuccess) check(error, ("llama: " + std::to_string(bytes) + " bytes of device memory").c_str());
    return data;
  }
  void release(void* data) noexcept override { cudaFree(data); }
  const void* keep(const void* host, std::size_t bytes) override {
    void*& there = kept_[host];  // tied embeddings come twice
    if (there == nullptr) {
      there = allocate(bytes);
      upload(there, host, bytes);
      used(host, bytes);
    }
    return there;
  }
  std::vector<const e4m3*> keep_experts(std::span<const e4m3* const> host, std::int64_t n, std::int64_t k) override {
    return keep_each(host, n * k, [&](const e4m3* from, e4m3* to) {
      upload(to, from, static_cast<std::size_t>(n * k));
      used(from, static_cast<std::size_t>(n * k));
    });
  }
  std::vector<const bf16*> keep_experts(std::span<const bf16* const> host, std::int64_t n, std::int64_t k,
                                        std::int64_t stride) override {
    const auto count = static_cast<std::size_t>(stride == 0 || k == 0 ? n * k : (k - 1) * stride + n);
    const Buffer<bf16> columns(*this, stride == 0 ? 0 : static_cast<std::int64_t>(count));
    return keep_each(host, n * k, [&](const bf16* from, bf16* to) {
      upload(stride == 0 ? to : columns.data(), from, count * sizeof(bf16));
      used(from, count * sizeof(bf16));
      if (stride != 0) {
        launch("llama", transpose_kernel, blocks_for(n * k, kThreads), kThreads, 0, stream(), columns.data(), n, k,
               stride, to);
      }
    });
  }
  void upload(void* to, const void* host, std::size_t bytes) override {
    copy_as(to, host, bytes, cudaMemcpyHostToDevice);
    check(cudaStreamSynchronize(stream()), "llama");  // the host's memory is free again when this returns
  }
  void download(void* host, const void* from, std::size_t bytes) override {
    copy_as(host, from, bytes, cudaMemcpyDeviceToHost);
    check(cudaStreamSynchronize(stream()), "llama");
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    copy_as(to, from, bytes, cudaMemcpyDeviceToDevice);
  }

  std::int64_t chunk() const override { return 2048; }
  void repeat(const std::function<void()>& work) override {
    const ArenaScope scope(arena_);
    // A graph cannot allocate: the first step runs as it is, and tells how much workspace one needs.
    if (measured_) {
      arena_.grow();
      if (queue_.repeat(work)) return;
    }
    work();
    measured_ = true;
  }

  void gather(const bf16* table, std::span<const std::int64_t> ids, std::int64_t cols, bf16* out) override {
    const auto rows = static_cast<std::int64_t>(ids.size());
    if (rows > id_room_) {
      ids_ = Buffer<std::int64_t>(*this, rows);
      id_room_ = rows;
    }
    upload(ids_.data(), ids.data(), ids.size_bytes());
    launch("llama", gather_kernel, blocks_for(rows * cols, kThreads), kThreads, 0, stream(), table, ids_.data(), rows,
           cols, out);
  }
  void rmsnorm(const RmsnormArgs& a) override { cuda::rmsnorm(a.x, a.weight, a.rows, a.cols, a.eps, a.out, stream()); }
  void quantize(const bf16* x, std::int64_t rows, std::int64_t cols, const Rule& rule, e4m3* codes,
                float* scale) override {
    cuda::quantize(x, rows, cols, rule, codes, scale, std::numeric_limits<float>::infinity(), stream());
  }
  void dequantize(const e4m3* codes, std::int64_t rows, std::int64_t cols, const TileScales& scales,
                  bf16* out) override {
    cuda::dequantize(codes, rows, cols, scales, OutDtype::bfloat16, out, stream());
  }
  void scaled_mm(const ScaledMmArgs& args) override { cuda::scaled_mm(args, stream()); }
  void linear_row_facts(const bf16* rows, std::int64_t n, std::int64_t k, RowFacts* facts) override {
    cuda::linear_row_facts(rows, n, k, facts, stream());
  }
  void linear(const LinearArgs& a) override {
    if (a.accumulate == Accumulate::exact) {
      cuda::linear(a.x, a.w, a.m, a.n, a.k, a.bias, a.facts, a.out, stream());
    } else {
      cuda::linear(a.x, a.w, a.m, a.n, a.k, a.bias, a.accumulate, a.out, stream());
    }
  }
  void rope(const RopeArgs& a) override {
    cuda::rope(a.x, a.tokens, a.heads, a.half, a.cos, a.sin, a.layout, a.out, stream());
  }
  void temperature(const bf16* x, std::int64_t tokens, std::int64_t width, const float* factors, bf16* out) override {
    cuda::temperature(x, tokens, width, factors, out, stream());
  }
  void attention(const AttentionArgs& args) override { cuda::attention(args, stream()); }
  void silu_mul(const bf16* gate, const bf16* up, std::int64_t n, bf16* out) override {
    cuda::silu_mul(gate, up, static_cast<std::size_t>(n), out, stream());
  }
  void residual(const bf16* x, const bf16* y, std::int64_t n, bf16* out) override {
    cuda::residual(x, y, static_cast<std::size_t>(n), out, stream());
  }
  void gated_residual(const bf16* x, const bf16* y, const bf16* gate, std::int64_t n, bf16* out) override {
    cuda::gated_residual(x, y, gate, static_cast<std::size_t>(n), out, stream());
  }
  void widen(const bf16* x, std::int64_t n, float* out) override {
    cuda::widen(x, Number::bfloat16, static_cast<std::size_t>(n), out, Number::float32, stream());
  }
  void sample(const float* logits, std::int64_t rows, std::int64_t vocab, std::int64_t* ids) override {
    cuda::sample(logits, rows, vocab, ids, stream());
  }
  void route(const RouteArgs& a) override {
    cuda::route(a.logits, a.tokens, a.experts, a.top_k, a.ids, a.scores, stream());
  }
  void dispatch(const DispatchArgs& a) override {
    cuda::dispatch(a.x, a.ids, a.scores, a.tokens, a.top_k, a.cols, a.experts, a.inputs, a.order, a.offsets, stream());
  }
  void combine(const CombineArgs& a) override {
    cuda::combine(a.routed, a.order, a.shared, a.tokens, a.top_k, a.cols, a.out, stream());
  }
  void quantize_experts(const bf16* x, const Groups& groups, std::int64_t cols, const Rule& rule, const float* given,
                        e4m3* codes, float* row_scales) override {
    launch("llama", quantize_experts_kernel, static_cast<unsigned>(groups.rows), kThreads, 0, stream(), x, groups, cols,
           rule, given, codes, row_scales);
  }
  void grouped_mm(const GroupedMmArgs& args, std::span<const e4m3* const> weights) override {
    GroupedMmArgs whole = args;
    whole.all.b = weights.front();  // keep_experts laid them one after the other
    cuda::grouped_mm(whole, stream());
  }
  /// Waits for the offsets: each expert's rows are a product of their own.
  void grouped_linear(const GroupedLinearArgs& a) override {
    std::vector<std::int64_t> offsets(static_cast<std::size_t>(a.groups.experts + 1));
    download(offsets.data(), a.groups.offsets, offsets.size() * sizeof(std::int64_t));
    for (std::size_t e = 0; e < a.w.size(); ++e) {
      const std::int64_t row = offsets[e], rows = offsets[e + 1] - row;
      if (rows == 0) continue;
      linear({a.x + row * a.k, a.w[e], rows, a.n, a.k, nullptr, nullptr, a.accumulate, a.out + row * a.n});
    }
  }
  void rmsnorm_quantize(const RmsnormArgs& a, const Rule& rule, e4m3* codes, float* scale) override {
    cuda::rmsnorm_quantize(a.x, a.weight, a.rows, a.cols, a.eps, rule, a.out, codes, scale, stream());
  }
  void silu_mul_quantize(const bf16* gate, const bf16* up, std::int64_t rows, std::int64_t cols, const Rule& rule,
                         bf16* product, e4m3* codes, float* scale) override {
    cuda::silu_mul_quantize(gate, up, rows, cols, rule, product, codes, scale, stream());
  }

 private:
  cudaStream_t stream() const { return queue_.stream(); }
  void copy_as(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    if (bytes != 0) check(cudaMemcpyAsync(to, from, bytes, kind, stream()), "llama");
  }

  /// Device memory for one matrix of `count` numbers from each expert, each brought there by `bring`.
  template <class T, class Bring>
  std::vector<const T*> keep_each(std::span<const T* const> host, std::int64_t count, const Bring& bring) {
    experts_.reserve(experts_.size() + 1);
    experts_.push_back(allocate(host.size() * static_cast<std::size_t>(count) * sizeof(T)));
    T* to = static_cast<T*>(experts_.back());
    std::vector<const T*> kept;
    for (const T* from : host) {
      bring(from, to);
      kept.push_back(std::exchange(to, to + count));
    }
    return kept;
  }
  /// The host's copy of a weight has done its work. [LLAMA-STREAM]
  void used(const void* host, std::size_t bytes) const {
    if (weights_ == Weights::streamed) storage_->release({static_cast<const std::byte*>(host), bytes});
  }

  const std::shared_ptr<const WeightStorage> storage_;
  const Weights weights_;
  const DeviceInfo device_ = device_info();  // first: it says what is missing, where something is
  Queue queue_;
  Arena arena_;
  bool measured_ = false;
  std::map<const void*, void*> kept_;
  std::vector<void*> experts_;
  std::int64_t id_room_ = 0;
  Buffer<std::int64_t> ids_{*this, 0};
};

}  // namespace

std::unique_ptr<Llama> load_llama(const std::string& folder, Accumulate accumulate, Weights weights) {
  const LlamaWeights read = read_llama(folder);
  return make_llama(read, accumulate, std::make_unique<CudaOps>(read.storage, weights));
}

}  // namespace fp8ref::cuda
