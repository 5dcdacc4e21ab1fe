// SPDX-License-Identifier: Apache-2.0
// scaled_mm with one chain over all of K per output, of E5M2 codes or of both types, to float32; wgmma.cu rounds that
// to other types.
#include "cuda/wgmma_kernel.h"

namespace fp8ref::cuda {
namespace {

template <class A, class B>
struct Chain : DenseShape<float, cutlass::gemm::KernelTmaWarpSpecializedPingpongFP8FastAccum, cute::_128, cute::_128,
                          cute::_128> {
  using Left = A;
  using Right = B;
};

using e4m3_t = cutlass::float_e4m3_t;
using e5m2_t = cutlass::float_e5m2_t;

}  // namespace

void wgmma_e4m3_e5m2(const WgmmaCall& call, cudaStream_t stream) { Wgmma<Chain<e4m3_t, e5m2_t>>::run(call, stream); }
void wgmma_e5m2_e4m3(const WgmmaCall& call, cudaStream_t stream) { Wgmma<Chain<e5m2_t, e4m3_t>>::run(call, stream); }
void wgmma_e5m2_e5m2(const WgmmaCall& call, cudaStream_t stream) { Wgmma<Chain<e5m2_t, e5m2_t>>::run(call, stream); }

}  // namespace fp8ref::cuda
