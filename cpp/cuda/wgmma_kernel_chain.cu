// SPDX-License-Identifier: Apache-2.0
// scaled_mm with one chain over all of K per output [MMA-CHAIN]: CUTLASS's FastAccum. Two groups of warps take tiles in
// turn, so that one scales and stores while the other has the tensor cores.
#include "cuda/wgmma_kernel.h"

namespace fp8ref::cuda {
namespace {

template <class Out>
using Chain =
    DenseShape<Out, cutlass::gemm::KernelTmaWarpSpecializedPingpongFP8FastAccum, cute::_128, cute::_128, cute::_128>;

}  // namespace

void wgmma_bf16(const WgmmaCall& call, cudaStream_t stream) { Wgmma<Chain<cutlass::bfloat16_t>>::run(call, stream); }
void wgmma_f32(const WgmmaCall& call, cudaStream_t stream) { Wgmma<Chain<float>>::run(call, stream); }

}  // namespace fp8ref::cuda
