// SPDX-License-Identifier: Apache-2.0
// grouped_mm to bfloat16: one persistent kernel over the tiles of all experts. Shapes and pointers of the experts are
// in device memory, written just before by a kernel of wgmma.cu, so nothing waits for the offsets.
#include "cuda/wgmma_kernel.h"

namespace fp8ref::cuda {
namespace {

using Problem = cute::Shape<std::int32_t, std::int32_t, std::int32_t>;

template <class Shape>
struct Grouped : WgmmaParts<Shape, true> {
  using Parts = WgmmaParts<Shape, true>;
  using Kernel = cutlass::gemm::kernel::GemmUniversal<cutlass::gemm::GroupProblemShape<Problem>,
                                                      typename Parts::Mainloop, typename Parts::Store>;
  using CodeStride = typename Kernel::InternalStrideA;
  using OutStride = typename Kernel::InternalStrideD;
  static_assert(std::is_same_v<CodeStride, typename Kernel::InternalStrideB>);
  static_assert(sizeof(CodeStride) == sizeof(std::int64_t) && sizeof(OutStride) == sizeof(std::int64_t));
  static_assert(sizeof(Problem) == 3 * sizeof(std::int32_t));

  static typename Kernel::Arguments arguments(const WgmmaCall& call) {
    const WgmmaGroups& groups = call.groups;
    const auto code_stride = reinterpret_cast<CodeStride*>(groups.code_stride);
    typename Kernel::Arguments all;
    all.mode = cutlass::gemm::GemmUniversalMode::kGrouped;
    all.problem_shape = {static_cast<std::int32_t>(groups.experts), reinterpret_cast<Problem*>(groups.shapes), nullptr};
    all.mainloop.ptr_A = reinterpret_cast<const typename Parts::Left**>(groups.a);
    all.mainloop.dA = code_stride;
    all.mainloop.ptr_B = reinterpret_cast<const typename Parts::Right**>(groups.b);
    all.mainloop.dB = code_stride;
    all.epilogue.thread = {{},
                           Parts::of_rows(groups.a_scale, call.a_scale.stride != 0),
                           Parts::of_columns(groups.b_scale, call.b_scale.stride != 0),
                           Parts::of_columns(call.bias == nullptr ? nullptr : groups.bias, true, kNoBias),
                           {call.epilogue}};
    all.epilogue.ptr_C = nullptr;
    all.epilogue.dC = nullptr;
    all.epilogue.ptr_D = reinterpret_cast<typename Parts::Out**>(groups.out);
    all.epilogue.dD = reinterpret_cast<OutStride*>(groups.out_stride);
    all.hw_info = wgmma_hardware(call);
    return all;
  }

  static void run(const WgmmaCall& call, cudaStream_t stream) { wgmma_queue<Kernel>(call, arguments(call), stream); }
};

template <class Schedule>
struct Shape : DenseShape<cutlass::bfloat16_t, Schedule, cute::_64, cute::_128, cute::_128> {
  using Cluster = cute::Shape<cute::_1, cute::_2, cute::_1>;
  using Store = cutlass::epilogue::PtrArrayTmaWarpSpecializedPingpong;
};

}  // namespace

void wgmma_grouped(const WgmmaCall& call, cudaStream_t stream) {
  Grouped<Shape<cutlass::gemm::KernelPtrArrayTmaWarpSpecializedPingpongFP8FastAccum>>::run(call, stream);
}
void wgmma_promoted_grouped(const WgmmaCall& call, cudaStream_t stream) {
  Grouped<Shape<cutlass::gemm::KernelPtrArrayTmaWarpSpecializedPingpong>>::run(call, stream);
}

}  // namespace fp8ref::cuda
