// SPDX-License-Identifier: Apache-2.0
// llm-compressor's observer "mse" on a CUDA device [QUANT-MSE]: 20 steps are queued, and those after the end of the
// search find that out for themselves. Errors are summed exactly, so the split into pieces does not matter.
#include "cuda/quantize.h"
#include "cuda/quantize_mse.h"
#include "cuda/workspace.h"
#include "fp8ref/mse.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 128;
constexpr std::int64_t kPiece = 4096, kMostPieces = 512;

/// `count` runs of n elements that have a scale each. A block works on a piece of a run: run blockIdx.x, piece
/// blockIdx.y.
template <class T>
struct Runs {
  const T* x;
  std::int64_t count, n;

  __device__ std::int64_t run() const { return blockIdx.x; }
  __device__ std::int64_t first() const { return static_cast<std::int64_t>(blockIdx.y) * blockDim.x + threadIdx.x; }
  __device__ std::int64_t step() const { return static_cast<std::int64_t>(gridDim.y) * blockDim.x; }
};

/// The state of the searches.
struct Search {
  int* amax;                 // per run, as bits
  float *best, *least;       // per run
  MseSum* errors;            // per run and piece
  int *improved, *finished;  // per step: whether an error became less; whether the search had ended before
};

template <class T>
__global__ void mse_amax_kernel(const Runs<T> runs, AmaxNan nan, const Search search) {
  __shared__ Scratch<int, int> scratch;
  Amax<T> amax;
  const T* x = runs.x + runs.run() * runs.n;
  for (std::int64_t i = runs.first(); i < runs.n; i += runs.step()) amax.add(nan, load<1>(x + i));
  const int all = team_reduce<Team::block>(amax.bits(), scratch, 0, Larger{}, [](int value) { return value; });
  if (threadIdx.x == 0) atomicMax(search.amax + runs.run(), all);
}

template <class T>
__global__ void mse_start_kernel(std::int64_t count, const Search search) {
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    search.best[i] = bit_cast<float>(search.amax[i]);
    search.least[i] = largest<T>();
  }
}

template <class T>
__device__ float scale_of_range(const Rule& rule, float range) {
  return factors_of_bits<T>(rule, bit_cast<int>(range), 0).scale;
}

/// One element's error; out of line, for the exact power needs many registers.
template <class T>
__device__ __noinline__ float error_of(float x, e4m3 code, float scale) {
  return mse_error<T>(x, code, scale);
}

/// The errors of a piece with the range of a step.
template <class T>
__global__ void mse_errors_kernel(const Runs<T> runs, const __grid_constant__ Rule rule, int step,
                                  const Search search) {
  if (search.finished[step] != 0) return;
  const T* x = runs.x + runs.run() * runs.n;
  const float scale = scale_of_range<T>(rule, mse_range<T>(bit_cast<float>(search.amax[runs.run()]), step));
  const Divisor divisor = divisor_of(rule, scale);
  MseSum sum;
  for (std::int64_t i = runs.first(); i < runs.n; i += runs.step()) {
    const Vector<T, 1> value = load<1>(x + i);
    sum.add(error_of<T>(widen(value.item[0]), codes_of(value, rule, divisor).item[0], scale));
  }
  MseSum* sums = shared_memory<MseSum>();
  sums[threadIdx.x] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x].add(sums[static_cast<int>(threadIdx.x) + half]);
  }
  if (threadIdx.x == 0) search.errors[runs.run() * gridDim.y + blockIdx.y] = sums[0];
}

/// Takes the range of a step where its error is less. Ties keep the larger range.
template <class T>
__global__ void mse_choose_kernel(std::int64_t count, std::int64_t pieces, int step, const Search search) {
  if (search.finished[step] != 0) return;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    MseSum sum;
    for (std::int64_t j = 0; j < pieces; ++j) sum.add(search.errors[i * pieces + j]);
    const float error = sum.template rounded<T>();
    if (!(error < search.least[i])) continue;
    search.least[i] = error;
    search.best[i] = mse_range<T>(bit_cast<float>(search.amax[i]), step);
    search.improved[step] = 1;
  }
}

/// Whether the search is over before the next step: for some steps none has improved.
__global__ void mse_finish_kernel(int step, const Search search) {
  int idle = 0;
  while (idle <= step && search.improved[step - idle] == 0) ++idle;
  search.finished[step + 1] = idle >= kMsePatience ? 1 : 0;
}

template <class T>
__global__ void mse_encode_kernel(const Runs<T> runs, const __grid_constant__ Rule rule, const Search search,
                                  e4m3* codes, float* scales) {
  const float scale = scale_of_range<T>(rule, search.best[runs.run()]);
  if (blockIdx.y == 0 && threadIdx.x == 0) scales[runs.run()] = scale;
  const Divisor divisor = divisor_of(rule, scale);
  const std::int64_t at = runs.run() * runs.n;
  for (std::int64_t i = runs.first(); i < runs.n; i += runs.step()) {
    store(codes_of(load<1>(runs.x + at + i), rule, divisor), codes + at + i);
  }
}

std::int64_t pieces_of(std::int64_t count, std::int64_t n) {
  std::int64_t pieces = (n + kPiece - 1) / kPiece;
  if (pieces > kMostPieces) pieces = kMostPieces;
  while (pieces > 1 && pieces * count > (std::int64_t{1} << 16)) pieces = (pieces + 1) / 2;  // runs are enough blocks
  return pieces < 1 ? 1 : pieces;
}

}  // namespace

template <class T>
void quantize_mse(const T* x, std::int64_t rows, std::int64_t cols, const Rule& rule, e4m3* codes, float* scale,
                  cudaStream_t stream) {
  constexpr const char* kOp = "quantize";
  const bool per_row = rule.granularity == Granularity::row;
  const Runs<T> runs{x, per_row ? rows : 1, per_row ? cols : rows * cols};
  if (runs.count == 0) return;
  const std::int64_t pieces = pieces_of(runs.count, runs.n);
  const Workspace<int> integers(kOp, runs.count + 2 * kMseSteps + 1, stream);
  const Workspace<float> floats(kOp, 2 * runs.count, stream);
  const Workspace<MseSum> errors(kOp, runs.count * pieces, stream);
  const auto bytes = static_cast<std::size_t>(runs.count + 2 * kMseSteps + 1) * sizeof(int);
  check(cudaMemsetAsync(integers.get(), 0, bytes, stream), kOp);
  int* improved = integers.get() + runs.count;
  const Search search{integers.get(), floats.get(), floats.get() + runs.count,
                      errors.get(),   improved,     improved + kMseSteps};
  const dim3 grid(static_cast<unsigned>(runs.count), static_cast<unsigned>(pieces));
  const unsigned few = blocks_for(runs.count, kThreads);
  launch(kOp, mse_amax_kernel<T>, grid, kThreads, 0, stream, runs, rule.amax_nan, search);
  launch(kOp, mse_start_kernel<T>, few, kThreads, 0, stream, runs.count, search);
  for (int step = 0; step < kMseSteps; ++step) {
    launch(kOp, mse_errors_kernel<T>, grid, kThreads, kThreads * sizeof(MseSum), stream, runs, rule, step, search);
    launch(kOp, mse_choose_kernel<T>, few, kThreads, 0, stream, runs.count, pieces, step, search);
    launch(kOp, mse_finish_kernel, 1, 1, 0, stream, step, search);
  }
  launch(kOp, mse_encode_kernel<T>, grid, kThreads, 0, stream, runs, rule, search, codes, scale);
}

template void quantize_mse<float>(const float*, std::int64_t, std::int64_t, const Rule&, e4m3*, float*, cudaStream_t);
template void quantize_mse<bf16>(const bf16*, std::int64_t, std::int64_t, const Rule&, e4m3*, float*, cudaStream_t);
template void quantize_mse<fp16>(const fp16*, std::int64_t, std::int64_t, const Rule&, e4m3*, float*, cudaStream_t);

}  // namespace fp8ref::cuda
