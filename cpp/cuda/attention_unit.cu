// SPDX-License-Identifier: Apache-2.0
// attention by a tensor core (spec/attention.md, [ATTN-UNIT]). The blocks of 128 keys have fixed places, so runs of
// them are independent work: a superblock each in a prefill, a block each in decoding, where keys are many and rows are
// few. A second kernel merges their states in the order of the specification.
#include <algorithm>

#include "cuda/attention_unit.h"
#include "cuda/attention_unit_run.h"
#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/workspace.h"
#include "fp8ref/modes.h"

namespace fp8ref::cuda {
namespace {

constexpr const char* kOp = "attention";
constexpr int kScalarThreads = kAttentionBlock;  // a thread for each key of a block

/// A run of one row at a time, for any unit and any head, by the shared scalar functions; with marks, only tiles that
/// have one. Grid as of the run kernel.
class ScalarRun {
 public:
  __device__ ScalarRun(const AttentionRuns& p, const TensorCore& core, std::int64_t kv_head, std::int64_t run)
      : p_(p), core_(core), kv_head_(kv_head), run_(run) {}

  __device__ void row(std::int64_t row, float* scratch, bf16* weights, float* exponents) {
    const std::int64_t d = p_.args.head_dim, seen = p_.visible(row), first_seen = p_.first_visible(row);
    float* state = p_.state(kv_head_, row, run_);
    float top = -INFINITY;
    for (std::int64_t i = threadIdx.x; i < d + 1; i += blockDim.x) state[1 + i] = 0;
    for (int block = 0; block < p_.span; ++block) {
      const std::int64_t first = (p_.first_run(row) + run_) * p_.run_keys() + std::int64_t{block} * kAttentionBlock;
      if (first >= seen) break;
      if (first + kAttentionBlock <= first_seen) continue;
      const float own = weigh(row, first, scratch, weights, exponents);
      if (own == INFINITY) {
        top = INFINITY;
        break;
      }
      const float next = merged_top(top, own);
      const float factor = attention_merge_factor(top, next), block_factor = attention_merge_factor(own, next);
      for (std::int64_t i = threadIdx.x; i < d + 1; i += blockDim.x) {
        const float sum = i == 0 ? ones(weights) : column(first, i - 1, weights, exponents);
        state[1 + i] = attention_merge(state[1 + i], factor, sum, block_factor);
      }
      top = next;
      __syncthreads();  // before the weights are written anew
    }
    if (threadIdx.x == 0) state[0] = top;
    __syncthreads();
  }

 private:
  /// Weights of a block relative to its M, which is returned; +Inf for a broken row.
  __device__ float weigh(std::int64_t row, std::int64_t first, float* scratch, bf16* weights, float* exponents) const {
    const std::int64_t d = p_.args.head_dim, key = first + threadIdx.x;
    float t = -INFINITY;
    if (key >= p_.first_visible(row) && key < p_.visible(row)) {
      t = attention_unit_exponent(core_, p_.args.q + p_.element(kv_head_, row),
                                  p_.args.k + p_.key_element(kv_head_, key), d, p_.args.log2e_scale);
    }
    const Weight weight = attention_weight(t);
    const float largest = block_reduce(weight.exponent == INFINITY ? INFINITY : t, scratch, merged_top);
    const float top = attention_top(largest);
    weights[threadIdx.x] = top < INFINITY ? attention_unit_weight(weight, top) : bf16{0};
    exponents[threadIdx.x] = weight.exponent;
    __syncthreads();
    return top;
  }

  __device__ float ones(const bf16* weights) const {
    bf16 one[kAttentionBlock];
    for (bf16& x : one) x = bf16{0x3F80};
    return tensor_core_chain(core_, weights, one, std::int64_t{kAttentionBlock}, 0.0f);
  }
  __device__ float column(std::int64_t first, std::int64_t i, const bf16* weights, const float* exponents) const {
    const std::int64_t left = p_.args.kv_len - first;
    return attention_unit_sum(core_, weights, exponents, p_.args.v + p_.key_element(kv_head_, first) + i,
                              p_.args.kv_heads * p_.args.head_dim,
                              static_cast<int>(left < kAttentionBlock ? left : kAttentionBlock));
  }

  const AttentionRuns& p_;
  const TensorCore core_;
  const std::int64_t kv_head_, run_;
};

__global__ void __launch_bounds__(kScalarThreads)
    scalar_run_kernel(AttentionRuns p, TensorCore core, const int* marks) {
  __shared__ float scratch[32], exponents[kAttentionBlock];
  __shared__ bf16 weights[kAttentionBlock];
  const std::int64_t tile = blockIdx.x, run = blockIdx.y, kv_head = blockIdx.z;
  if (marks != nullptr && marks[(kv_head * gridDim.y + run) * gridDim.x + tile] == 0) return;
  ScalarRun scalar(p, core, kv_head, run);
  const std::int64_t end = (tile + 1) * p.tile_rows < p.rows ? (tile + 1) * p.tile_rows : p.rows;
  for (std::int64_t row = tile * p.tile_rows; row < end; ++row) scalar.row(row, scratch, weights, exponents);
}

/// Merges states one by one.
struct MergedSum {
  float top = -INFINITY, value = 0;

  __device__ void add(float other_top, float other) {
    const float next = merged_top(top, other_top);
    value = attention_merge(value, attention_merge_factor(top, next), other, attention_merge_factor(other_top, next));
    top = next;
  }
};

/// One output a thread: its runs merge inside superblocks, then those. [ATTN-UNIT-MERGE]
__global__ void merge_kernel(AttentionRuns p) {
  const std::int64_t d = p.args.head_dim, count = p.args.kv_heads * p.rows * d;
  const std::int64_t runs_of_superblock = kAttentionSuperblock / kAttentionBlock / p.span;
  for (std::int64_t index = grid_thread(); index < count; index += grid_threads()) {
    const std::int64_t i = index % d, row = index / d % p.rows, kv_head = index / d / p.rows;
    const std::int64_t first_run = p.first_run(row), runs = (p.visible(row) + p.run_keys() - 1) / p.run_keys();
    MergedSum n, l;
    bool broken = false;
    for (std::int64_t run = p.first_visible(row) / p.run_keys(); run < runs;) {
      const std::int64_t next = (run / runs_of_superblock + 1) * runs_of_superblock;
      MergedSum part_n, part_l;
      for (; run < runs && run < next; ++run) {
        const float* state = p.state(kv_head, row, run - first_run);
        broken = broken || state[0] == INFINITY;
        part_l.add(state[0], state[1]);
        part_n.add(state[0], state[2 + i]);
      }
      l.add(part_l.top, part_l.value);
      n.add(part_n.top, part_n.value);
    }
    p.args.out[p.element(kv_head, row) + i] = broken ? bf16{kNanBf16} : attention_unit_output(n.value, l.value);
  }
}

template <int d>
void launch_run(const AttentionRuns& p, int warps, dim3 grid, int* marks, Stream stream) {
  launch(kOp, unit_run_kernel<d>, grid, 32 * warps, kRunShared<d>, stream, p, marks);
}

struct RunKernel {
  int head_dim;
  void (*launch)(const AttentionRuns&, int, dim3, int*, Stream);
};
constexpr RunKernel kRunKernels[] = {
    {64, launch_run<64>}, {80, launch_run<80>}, {96, launch_run<96>}, {128, launch_run<128>}};

bool aligned(const bf16* x) { return reinterpret_cast<std::uintptr_t>(x) % 16 == 0; }

/// The kernel for this head on this device, if its tensor cores are the unit.
const RunKernel* run_kernel(const AttentionArgs& args, const TensorCore& core) {
  const bool hopper = device_facts().capability == 90;
  if (!hopper || core != tensor_core(Accumulate::sm90_wgmma, OperandClass::bf16, OutDtype::float32)) return nullptr;
  if (!aligned(args.q) || !aligned(args.k) || !aligned(args.v)) return nullptr;
  for (const RunKernel& kernel : kRunKernels) {
    if (kernel.head_dim == args.head_dim) return &kernel;
  }
  return nullptr;
}

/// A bound of the runs that a tile sees something of: its keys may begin and end within one. [ATTN-VISIBLE]
std::int64_t most_runs(const AttentionRuns& p) {
  const std::int64_t all = (p.args.kv_len + p.run_keys() - 1) / p.run_keys();
  if (p.args.mask != Mask::chunked) return all;
  const std::int64_t keys = std::min(p.args.kv_len, p.args.chunk) + p.tile_rows;
  return std::min(all, (keys + p.run_keys() - 2) / p.run_keys() + 1);
}

}  // namespace

void attention_unit(const AttentionArgs& args, Stream stream, Repair repair) {
  if (args.q_len == 0 || args.q_heads == 0) return;
  const TensorCore core = tensor_core(bf16_unit(args.accumulate), OperandClass::bf16, OutDtype::float32);
  AttentionRuns p{args, 1, 1, args.q_len * args.group(), 0, nullptr};
  const int warps = p.rows <= kRowsOfWarp ? 1 : p.rows <= 4 * kRowsOfWarp ? 4 : 8;
  p.tile_rows = std::int64_t{warps} * kRowsOfWarp;
  const std::int64_t tiles = (p.rows + p.tile_rows - 1) / p.tile_rows;
  // Whole superblocks keep states few; single blocks fill a device that the rows alone do not.
  const bool few = tiles * args.kv_heads < device_facts().multiprocessors;
  p.span = few ? 1 : kAttentionSuperblock / kAttentionBlock;
  p.runs = most_runs(p);
  const Workspace<float> states(kOp, args.kv_heads * p.rows * p.runs * (args.head_dim + 2), stream);
  p.states = states.get();
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(p.runs), static_cast<unsigned>(args.kv_heads));
  if (const RunKernel* kernel = run_kernel(args, core)) {
    const std::int64_t count = tiles * p.runs * args.kv_heads;
    const Workspace<int> marks(kOp, count, stream);
    check(cudaMemsetAsync(marks.get(), 0, static_cast<std::size_t>(count) * sizeof(int), stream), kOp);
    kernel->launch(p, warps, grid, marks.get(), stream);
    if (repair == Repair::special) {
      launch(kOp, scalar_run_kernel, grid, kScalarThreads, 0, stream, p, core, marks.get());
    }
  } else {
    launch(kOp, scalar_run_kernel, grid, kScalarThreads, 0, stream, p, core, nullptr);
  }
  const std::int64_t outputs = args.kv_heads * p.rows * args.head_dim;
  launch(kOp, merge_kernel, blocks_for(outputs, 256), 256, 0, stream, p);
}

}  // namespace fp8ref::cuda
