// SPDX-License-Identifier: Apache-2.0
// mma with FP8 or fp16 operands and fp32 results, emulated on CUDA cores by chain_kernel.h.
#include "cuda/chain_kernel.h"
#include "cuda/chains.h"

namespace fp8ref::cuda {
namespace {

/// Accumulators that emulated steps take. The exponent of a step without products counts as -32 (chain_step.h): what a
/// chain makes of a c at or above that has no bit that this would cut.
__device__ bool takes_accumulator(float c) {
  const float magnitude = fabsf(c);
  return magnitude == 0 || (magnitude >= 0x1p-32f && magnitude <= 0x1p100f);
}

struct NoScales {
  __device__ float add(int, int, float dot, float) const { return dot; }
};

template <TensorCore core, class A, class B>
struct MmaJob {
  MmaArgs args;
  ChainPlan plan;
  OperandFormat a_format, b_format;

  __host__ __device__ std::int64_t columns() const { return args.n; }
  __device__ std::int64_t depth() const { return args.k; }
  __device__ ChainTile tile() const {
    const std::int64_t first = std::int64_t{blockIdx.x} * kChainTile, rest = args.m - first;
    return {{0, first, static_cast<int>(rest < kChainTile ? rest : kChainTile)},
            static_cast<std::int64_t>(blockIdx.y) * kChainTile};
  }
  __device__ const A* a_of(std::int64_t i) const { return static_cast<const A*>(args.a) + i * args.k; }
  __device__ const B* b_of(std::int64_t j) const { return static_cast<const B*>(args.b) + j * args.k; }
  __device__ const unsigned char* a_row(const ChainTile& tile, int i) const {
    return i < tile.rows.rows ? reinterpret_cast<const unsigned char*>(a_of(tile.rows.first + i)) : nullptr;
  }
  __device__ const unsigned char* b_row(const ChainTile& tile, int j) const {
    return tile.column + j < args.n ? reinterpret_cast<const unsigned char*>(b_of(tile.column + j)) : nullptr;
  }
  __device__ float c_of(std::int64_t i, std::int64_t j) const {
    return args.c == nullptr ? 0.0f : static_cast<const float*>(args.c)[i * args.n + j];
  }
  __device__ float begin(const ChainTile& tile, int i, int j) const {
    return i < tile.rows.rows && tile.column + j < args.n ? c_of(tile.rows.first + i, tile.column + j) : 0.0f;
  }
  __device__ NoScales block_scales(const ChainTile&, const ChainView&, int) const { return {}; }

  __device__ __noinline__ float scalar(std::int64_t i, std::int64_t j) const {
    return tensor_core_chain(core, a_of(i), b_of(j), args.k, c_of(i, j));
  }
  __device__ void finish(const ChainTile& tile, int i, int j, float accumulator, bool special) const {
    const std::int64_t row = tile.rows.first + i, column = tile.column + j;
    const bool emulated = !special && takes_accumulator(c_of(row, column));
    static_cast<float*>(args.out)[row * args.n + column] = emulated ? accumulator : scalar(row, column);
  }
};

template <Accumulate unit, class A, class B>
void run(const MmaArgs& args, cudaStream_t stream) {
  constexpr int bytes = sizeof(A);
  constexpr TensorCore core = core_of<unit, bytes>();
  const MmaJob<core, A, B> job{args, chain_plan(unit, Scales::values, args.k, 1),
                               operand_format(args.a_type, core.order), operand_format(args.b_type, core.order)};
  launch_chains<unit, bytes>("mma", job, (args.m + kChainTile - 1) / kChainTile, stream);
}

template <Accumulate unit>
void run_fp8(const MmaArgs& args, cudaStream_t stream) {
  const bool a5 = args.a_type == Operand::e5m2, b5 = args.b_type == Operand::e5m2;
  if (a5) return b5 ? run<unit, e5m2, e5m2>(args, stream) : run<unit, e5m2, e4m3>(args, stream);
  return b5 ? run<unit, e4m3, e5m2>(args, stream) : run<unit, e4m3, e4m3>(args, stream);
}

}  // namespace

bool mma_chains(const MmaArgs& args, Stream stream) {
  if (args.out_dtype != OutDtype::float32 || args.a_type == Operand::bf16) return false;
  if (args.a_type == Operand::fp16) {
    const bool ampere = args.accumulate == Accumulate::sm80_mma || args.accumulate == Accumulate::sm89_mma;
    ampere ? run<Accumulate::sm80_mma, fp16, fp16>(args, stream)
           : run<Accumulate::sm90_wgmma, fp16, fp16>(args, stream);
    return true;
  }
  switch (args.accumulate) {
    case Accumulate::sm89_mma:
      run_fp8<Accumulate::sm89_mma>(args, stream);
      return true;
    case Accumulate::sm90_mma_sync:
      run_fp8<Accumulate::sm90_mma_sync>(args, stream);
      return true;
    case Accumulate::sm90_wgmma:
      run_fp8<Accumulate::sm90_wgmma>(args, stream);
      return true;
    case Accumulate::sm100_tcgen05:
    case Accumulate::sm120_mma:
      run_fp8<Accumulate::sm120_mma>(args, stream);
      return true;
    default:
      return false;
  }
}

}  // namespace fp8ref::cuda
