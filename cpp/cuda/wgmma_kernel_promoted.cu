// SPDX-License-Identifier: Apache-2.0
// scaled_mm with a fresh chain for each 128 of K, added in fp32 [MMA-PROMOTE]. An output has two registers here, of the
// chain and of the sum, so two groups of warps share a tile.
#include "cuda/wgmma_kernel.h"

namespace fp8ref::cuda {
namespace {

template <class Out>
struct Promoted
    : DenseShape<Out, cutlass::gemm::KernelTmaWarpSpecializedCooperative, cute::_128, cute::_128, cute::_128> {
  using Store = cutlass::epilogue::TmaWarpSpecializedCooperative;
};

}  // namespace

void wgmma_promoted_bf16(const WgmmaCall& call, cudaStream_t stream) {
  Wgmma<Promoted<cutlass::bfloat16_t>>::run(call, stream);
}
void wgmma_promoted_f32(const WgmmaCall& call, cudaStream_t stream) { Wgmma<Promoted<float>>::run(call, stream); }

}  // namespace fp8ref::cuda
