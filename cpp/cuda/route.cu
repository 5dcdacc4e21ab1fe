// SPDX-License-Identifier: Apache-2.0
// route, dispatch and combine on a CUDA device (spec/route.md). Nothing waits for the host: offsets and order stay on
// the device, where grouped_mm and combine read them.
#include <algorithm>

#include "cuda/launch.h"
#include "cuda/packed.h"
#include "cuda/stable_sort.h"
#include "cuda/workspace.h"
#include "fp8ref/cuda.h"
#include "fp8ref/route.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256;

// ---- route ----------------------------------------------------------------------------------------------------------
constexpr int kTokensOfBlock = kThreads / 32;
constexpr std::int64_t kFewChoices = 8, kFewExperts = 4096;   // of which a warp looks for the largest, one by one
constexpr std::int64_t kSortMemory = std::int64_t{32} << 20;  // bytes

/// A warp for each token: k times the highest rank below the last one. [ROUTE-TOP]
__global__ void __launch_bounds__(kThreads)
    route_kernel(const bf16* logits, std::int64_t tokens, int experts, int top_k, std::int64_t* ids, bf16* scores) {
  const std::int64_t token = std::int64_t{blockIdx.x} * kTokensOfBlock + warp_index();
  if (token >= tokens) return;
  const bf16* const row = logits + token * experts;
  std::uint64_t limit = ~std::uint64_t{0}, own = 0;
  for (int j = 0; j < top_k; ++j) {
    std::uint64_t best = 0;
#pragma unroll 4
    for (int e = lane_index(); e < experts; e += 32) {
      const std::uint64_t rank = route_rank(row[e], e);
      if (rank < limit && rank > best) best = rank;
    }
    limit = warp_reduce(best, [](std::uint64_t a, std::uint64_t b) { return a > b ? a : b; });
    if (lane_index() == j) own = limit;
  }
  if (lane_index() >= top_k) return;
  const std::int64_t expert = route_expert(own);
  ids[token * top_k + lane_index()] = expert;
  scores[token * top_k + lane_index()] = route_score(row[expert]);
}

/// A block for each token: all experts sorted by the two bytes of their logits' ranks, of which the first k are wanted.
/// memory: an expert each, for every block.
__global__ void __launch_bounds__(kSortThreads)
    route_sort_kernel(const bf16* logits, std::int64_t tokens, std::int64_t experts, std::int64_t top_k,
                      std::int64_t* ids, bf16* scores, unsigned* memory) {
  __shared__ SortShared shared;
  unsigned* const sorted = memory + blockIdx.x * experts;
  for (std::int64_t token = blockIdx.x; token < tokens; token += gridDim.x) {
    const bf16* const row = logits + token * experts;
    const auto key = [&](std::int64_t e) { return 0xFFFF - static_cast<int>(route_rank(row[e], e) >> 32); };
    const auto low = [&](std::int64_t i) { return key(i) & 0xFF; };
    const auto high = [&](std::int64_t i) { return key(sorted[i]) >> 8; };
    move_items(shared, 0, experts, sum_before(shared, count_digits(shared, 0, experts, low)), low,
               [&](std::int64_t e, std::int64_t place) { sorted[place] = static_cast<unsigned>(e); });
    __syncthreads();
    move_items(shared, 0, experts, sum_before(shared, count_digits(shared, 0, experts, high)), high,
               [&](std::int64_t i, std::int64_t place) {
                 if (place >= top_k) return;
                 ids[token * top_k + place] = sorted[i];
                 scores[token * top_k + place] = route_score(row[sorted[i]]);
               });
    __syncthreads();  // the memory may be written anew
  }
}

// ---- dispatch -------------------------------------------------------------------------------------------------------
constexpr std::int64_t kShare = 2048;  // pairs of a block of the sort at least
constexpr std::int64_t kMostBlocks = 128;

/// One pass of the sort of pairs: by a digit of their experts, `share` neighbours to a block.
struct SortPass {
  const std::int64_t* ids;
  const std::int64_t* source;  // the order before, nullptr for that of the pairs
  std::int64_t* target;
  std::int64_t pairs, share;
  int shift;

  __device__ std::int64_t pair(std::int64_t i) const { return source == nullptr ? i : source[i]; }
  __device__ int digit(std::int64_t i) const { return static_cast<int>(ids[pair(i)] >> shift & (kDigits - 1)); }
  __device__ std::int64_t begin() const { return blockIdx.x * share; }
  __device__ std::int64_t end() const { return begin() + share < pairs ? begin() + share : pairs; }
};

/// counts: (blocks, digits).
__global__ void __launch_bounds__(kSortThreads) sort_count_kernel(SortPass p, unsigned* counts) {
  __shared__ SortShared shared;
  counts[std::int64_t{blockIdx.x} * kDigits + threadIdx.x] =
      count_digits(shared, p.begin(), p.end(), [&](std::int64_t i) { return p.digit(i); });
}

/// A block that is alone counts by itself.
__global__ void __launch_bounds__(kSortThreads) sort_move_kernel(SortPass p, const unsigned* counts) {
  __shared__ SortShared shared;
  const auto digit = [&](std::int64_t i) { return p.digit(i); };
  std::int64_t all = 0, before = 0;  // of this thread's digit: in all blocks, in those before this one
  if (gridDim.x == 1) all = count_digits(shared, p.begin(), p.end(), digit);
  for (unsigned block = 0; gridDim.x > 1 && block < gridDim.x; ++block) {
    const unsigned count = counts[std::int64_t{block} * kDigits + threadIdx.x];
    all += count;
    if (block < blockIdx.x) before += count;
  }
  const std::int64_t start = sum_before(shared, all) + before;
  move_items(shared, p.begin(), p.end(), start, digit,
             [&](std::int64_t i, std::int64_t place) { p.target[place] = p.pair(i); });
}

/// order: the pairs by ascending expert. [DISPATCH-ORDER]
void sort_pairs(const std::int64_t* ids, std::int64_t pairs, std::int64_t experts, std::int64_t* order, Stream stream) {
  const int passes = experts <= 1 << 8 ? 1 : experts <= 1 << 16 ? 2 : 3;
  const std::int64_t share = std::max(kShare, (pairs + kMostBlocks - 1) / kMostBlocks);
  const auto blocks = static_cast<unsigned>((pairs + share - 1) / share);
  const Workspace<std::int64_t> other("dispatch", passes > 1 ? pairs : 0, stream);
  const Workspace<unsigned> counts("dispatch", std::int64_t{blocks} * kDigits, stream);
  const std::int64_t* source = nullptr;
  for (int pass = 0; pass < passes; ++pass) {
    std::int64_t* const target = (passes - pass) % 2 == 1 ? order : other.get();
    const SortPass p{ids, source, target, pairs, share, 8 * pass};
    if (blocks > 1) launch("dispatch", sort_count_kernel, blocks, kSortThreads, 0, stream, p, counts.get());
    launch("dispatch", sort_move_kernel, blocks, kSortThreads, 0, stream, p, counts.get());
    source = target;
  }
}

struct DispatchArgs {
  const bf16* x;
  const std::int64_t* ids;
  const bf16* scores;
  std::int64_t pairs, top_k, cols, experts;
  bf16* inputs;
  const std::int64_t* order;
  std::int64_t* offsets;
};

/// A block for each row. The first row of an expert is where its rows, and those of the experts that nobody chose
/// before it, begin; the last row leaves the end to all after it. [DISPATCH-INPUT]
__global__ void __launch_bounds__(kThreads) inputs_kernel(DispatchArgs a, std::int64_t vectors) {
  const auto thread = static_cast<std::int64_t>(threadIdx.x), threads = static_cast<std::int64_t>(blockDim.x);
  for (std::int64_t row = blockIdx.x; row < a.pairs; row += gridDim.x) {
    const std::int64_t pair = a.order[row], expert = a.ids[pair], before = row == 0 ? -1 : a.ids[a.order[row - 1]];
    for (std::int64_t e = before + 1 + thread; e <= expert; e += threads) a.offsets[e] = row;
    for (std::int64_t e = expert + 1 + thread; row == a.pairs - 1 && e <= a.experts; e += threads) {
      a.offsets[e] = a.pairs;
    }
    const bf16 score = a.scores[pair];
    const bf16* const from = a.x + pair / a.top_k * a.cols;
    bf16* const to = a.inputs + row * a.cols;
    for (std::int64_t i = thread; i < vectors; i += threads) {
      Bf16x8 y = load8(from + 8 * i);
#pragma unroll
      for (std::uint32_t& two : y.pair) two = multiply2(two, pair_of(score, score));
      store8(canonical8(y), to + 8 * i);
    }
    for (std::int64_t i = 8 * vectors + thread; i < a.cols; i += threads) to[i] = multiply(from[i], score);
  }
}

// ---- combine --------------------------------------------------------------------------------------------------------
/// back[order[r]] = r. [COMBINE-SUM]
__global__ void back_kernel(const std::int64_t* order, std::int64_t pairs, std::int64_t* back) {
  for (std::int64_t row = grid_thread(); row < pairs; row += grid_threads()) back[order[row]] = row;
}

struct CombineArgs {
  const bf16* routed;
  const std::int64_t* order;  // of one choice the tokens' own order; of several the inverse, back
  const bf16* shared;
  std::int64_t tokens, top_k, cols;
  bf16* out;
};

/// One choice: a block takes a row to its token. Adding +0 makes -0 of routed +0. [SUM-ZERO]
__global__ void __launch_bounds__(kThreads) combine_one_kernel(CombineArgs a, std::int64_t vectors) {
  const auto thread = static_cast<std::int64_t>(threadIdx.x), threads = static_cast<std::int64_t>(blockDim.x);
  for (std::int64_t row = blockIdx.x; row < a.tokens; row += gridDim.x) {
    const bf16* const routed = a.routed + row * a.cols;
    const std::int64_t at = a.order[row] * a.cols;
    for (std::int64_t i = thread; i < vectors; i += threads) {
      Bf16x8 y = load8(routed + 8 * i);
#pragma unroll
      for (std::uint32_t& two : y.pair) two = add2(two, 0);
      store8(residual8(load8(a.shared + at + 8 * i), y), a.out + at + 8 * i);
    }
    for (std::int64_t i = 8 * vectors + thread; i < a.cols; i += threads) {
      a.out[at + i] = add(a.shared[at + i], add(routed[i], bf16{0}));
    }
  }
}

/// A block for each token, an element a thread.
__global__ void __launch_bounds__(kThreads) combine_kernel(CombineArgs a) {
  for (std::int64_t token = blockIdx.x; token < a.tokens; token += gridDim.x) {
    for (std::int64_t i = threadIdx.x; i < a.cols; i += blockDim.x) {
      const std::int64_t at = token * a.cols + i;
      a.out[at] = combine_output({a.routed + i, a.order + token * a.top_k, a.cols, a.top_k}, a.shared[at]);
    }
  }
}

}  // namespace

void route(const bf16* logits, std::int64_t tokens, std::int64_t experts, std::int64_t top_k, std::int64_t* ids,
           bf16* scores, Stream stream) {
  if (top_k <= kFewChoices && experts <= kFewExperts) {
    const std::int64_t blocks = (tokens + kTokensOfBlock - 1) / kTokensOfBlock;
    launch("route", route_kernel, static_cast<unsigned>(blocks), kThreads, 0, stream, logits, tokens, experts, top_k,
           ids, scores);
    return;
  }
  const auto room = kSortMemory / (experts * static_cast<std::int64_t>(sizeof(unsigned)));
  const unsigned blocks = blocks_for(tokens, 1, std::clamp<std::int64_t>(room, 1, 8 * device_facts().multiprocessors));
  const Workspace<unsigned> memory("route", blocks * experts, stream);
  launch("route", route_sort_kernel, blocks, kSortThreads, 0, stream, logits, tokens, experts, top_k, ids, scores,
         memory.get());
}

void dispatch(const bf16* x, const std::int64_t* ids, const bf16* scores, std::int64_t tokens, std::int64_t top_k,
              std::int64_t cols, std::int64_t experts, bf16* inputs, std::int64_t* order, std::int64_t* offsets,
              Stream stream) {
  const std::int64_t pairs = tokens * top_k;
  if (pairs == 0) {
    const auto bytes = static_cast<std::size_t>(experts + 1) * sizeof(std::int64_t);
    return check(cudaMemsetAsync(offsets, 0, bytes, stream), "dispatch");
  }
  sort_pairs(ids, pairs, experts, order, stream);
  const DispatchArgs args{x, ids, scores, pairs, top_k, cols, experts, inputs, order, offsets};
  const std::int64_t vectors = cols % 8 == 0 && aligned(16, x, inputs) ? cols / 8 : 0;
  launch("dispatch", inputs_kernel, blocks_for(pairs, 1), kThreads, 0, stream, args, vectors);
}

void combine(const bf16* routed, const std::int64_t* order, const bf16* shared, std::int64_t tokens, std::int64_t top_k,
             std::int64_t cols, bf16* out, Stream stream) {
  CombineArgs args{routed, order, shared, tokens, top_k, cols, out};
  if (top_k == 1) {
    const std::int64_t vectors = cols % 8 == 0 && aligned(16, routed, shared, out) ? cols / 8 : 0;
    launch("combine", combine_one_kernel, blocks_for(tokens, 1), kThreads, 0, stream, args, vectors);
    return;
  }
  const std::int64_t pairs = tokens * top_k;
  const Workspace<std::int64_t> back("combine", pairs, stream);
  launch("combine", back_kernel, blocks_for(pairs, kThreads), kThreads, 0, stream, order, pairs, back.get());
  args.order = back.get();
  launch("combine", combine_kernel, blocks_for(tokens, 1), kThreads, 0, stream, args);
}

}  // namespace fp8ref::cuda
