// SPDX-License-Identifier: Apache-2.0
// scaled_mm of few rows of a, to bfloat16. An instruction has at least 64 rows but may have 8 columns, so the kernel
// computes the transposed product, b's rows against a's. Neither the step [MMA-STEP] nor the epilogue can tell.
#include "cuda/wgmma_kernel.h"

namespace fp8ref::cuda {
namespace {

template <class Schedule, class Depth>
struct FewRows : DenseShape<cutlass::bfloat16_t, Schedule, cute::_64, cute::_16, Depth> {
  using Cluster = cute::Shape<cute::_1, cute::_1, cute::_1>;
  static constexpr Sides kSides = Sides::swapped;
};

using Chain = FewRows<cutlass::gemm::KernelTmaWarpSpecializedPingpongFP8FastAccum, cute::_256>;
using Promoted = FewRows<cutlass::gemm::KernelTmaWarpSpecializedPingpong, cute::_128>;

}  // namespace

void wgmma_few_rows(const WgmmaCall& call, cudaStream_t stream) { Wgmma<Chain>::run(call, stream); }
void wgmma_promoted_few_rows(const WgmmaCall& call, cudaStream_t stream) { Wgmma<Promoted>::run(call, stream); }

}  // namespace fp8ref::cuda
