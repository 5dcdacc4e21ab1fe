// SPDX-License-Identifier: Apache-2.0
// One chain over all of K per output [MMA-CHAIN], to bfloat16.
#include "cuda/wgmma_kernel.h"

namespace fp8ref::cuda {
namespace {

struct Kernel {
  using Left = cutlass::float_e4m3_t;
  using Right = cutlass::float_e4m3_t;
  using Out = cutlass::bfloat16_t;
  using Tile = cute::Shape<cute::_128, cute::_128, cute::_128>;
  using Cluster = cute::Shape<cute::_2, cute::_1, cute::_1>;
  using Mainloop = cutlass::gemm::KernelTmaWarpSpecializedPingpongFP8FastAccum;
  using Store = cutlass::epilogue::TmaWarpSpecialized;
  static constexpr Sides kSides = Sides::as_is;
};

}  // namespace

void wgmma_bf16(const WgmmaCall& call, cudaStream_t stream) { Wgmma<Kernel>::run(call, stream); }

}  // namespace fp8ref::cuda
