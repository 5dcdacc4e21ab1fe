// SPDX-License-Identifier: Apache-2.0
// What the wgmma kernels have in common: a CUTLASS mainloop and the epilogue of wgmma_scale.h. Only wgmma_kernel_*.cu
// may include this. Each kernel takes more than a minute to compile, so it includes little that ever changes.
#pragma once

#include <cutlass/cutlass.h>
#include <cutlass/gemm/device/gemm_universal_adapter.h>

#include <cutlass/epilogue/collective/collective_builder.hpp>
#include <cutlass/epilogue/fusion/sm90_callbacks_tma_warpspecialized.hpp>
#include <cutlass/gemm/collective/collective_builder.hpp>
#include <cutlass/gemm/kernel/gemm_universal.hpp>
#include <string>
#include <type_traits>

#include "cuda/wgmma.h"
#include "cuda/wgmma_scale.h"
#include "cuda/workspace.h"

namespace fp8ref::cuda {

/// Whether a kernel computes out, or out transposed from b and a: the bits of an accumulator are the same [MMA-STEP].
enum class Sides { as_is, swapped };

/// RN_out of z [MM-OUT].
template <class Out>
CUTLASS_DEVICE Out wgmma_round(float z) {
  if constexpr (std::is_same_v<Out, float>) {
    return z;
  } else {
    return Out::bitcast(rnbf(z).bits);
  }
}

/// The epilogue over a fragment. `column` holds the scales of the rows of the kernel's product, `row` those of its
/// columns: of a and of b, or the other way round where the sides are swapped.
template <class Out, Sides sides>
struct WgmmaEpilogue {
  template <class T>
  struct Of {
    struct Arguments {
      Epilogue epilogue;
    };
  };
  template <int count>
  struct Of<cutlass::Array<float, count>> {
    using Floats = cutlass::Array<float, count>;

    CUTLASS_DEVICE cutlass::Array<Out, count> operator()(const Floats& accumulator, const Floats& column,
                                                         const Floats& row, const Floats& bias,
                                                         typename Of<float>::Arguments arguments) const {
      cutlass::Array<Out, count> out;
      CUTLASS_PRAGMA_UNROLL
      for (int i = 0; i < count; ++i) {
        const float a_scale = sides == Sides::as_is ? column[i] : row[i];
        const float b_scale = sides == Sides::as_is ? row[i] : column[i];
        out[i] = wgmma_round<Out>(wgmma_scale(accumulator[i], a_scale, b_scale, bias[i], arguments.epilogue));
      }
      return out;
    }
  };
};

/// A kernel: Shape has the types Left and Right (operands as the kernel takes them), Out, Tile, Cluster, Mainloop and
/// Store (CUTLASS's schedules), and its Sides.
template <class Shape>
struct Wgmma {
  static constexpr bool kSwapped = Shape::kSides == Sides::swapped;
  using Out = typename Shape::Out;
  using Tile = typename Shape::Tile;
  using Layout = std::conditional_t<kSwapped, cutlass::layout::ColumnMajor, cutlass::layout::RowMajor>;
  static constexpr int kCodesAligned = 16, kOutAligned = 16 / sizeof(Out);

  // One scale for each row or column, or one for all: the stride is chosen at run time.
  using OfRows =
      cutlass::epilogue::fusion::Sm90ColBroadcast<0, Tile, float, float, cute::Stride<bool, cute::_0, cute::_0>, 1>;
  using OfColumns =
      cutlass::epilogue::fusion::Sm90RowBroadcast<0, Tile, float, float, cute::Stride<cute::_0, bool, cute::_0>, 1>;
  using Bias = std::conditional_t<kSwapped, OfRows, OfColumns>;
  using Epilogue = cutlass::epilogue::fusion::Sm90EVT<
      cutlass::epilogue::fusion::Sm90Compute<WgmmaEpilogue<Out, Shape::kSides>::template Of, Out, float,
                                             cutlass::FloatRoundStyle::round_to_nearest>,
      cutlass::epilogue::fusion::Sm90AccFetch, OfRows, OfColumns, Bias>;

  using Output = typename cutlass::epilogue::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Tile, typename Shape::Cluster,
      cutlass::epilogue::collective::EpilogueTileAuto, float, float, void, Layout, kOutAligned, Out, Layout,
      kOutAligned, typename Shape::Store, Epilogue>::CollectiveOp;
  using Input = typename cutlass::gemm::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, typename Shape::Left, cutlass::layout::RowMajor,
      kCodesAligned, typename Shape::Right, cutlass::layout::ColumnMajor, kCodesAligned, float, Tile,
      typename Shape::Cluster,
      cutlass::gemm::collective::StageCountAutoCarveout<static_cast<int>(sizeof(typename Output::SharedStorage))>,
      typename Shape::Mainloop>::CollectiveOp;
  using Kernel = cutlass::gemm::kernel::GemmUniversal<cute::Shape<int, int, int, int>, Input, Output,
                                                      cutlass::gemm::PersistentScheduler>;
  using Device = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;

  /// The product as the kernel sees it: (rows, columns) is (n, m) where the sides are swapped.
  static typename Device::Arguments arguments(const WgmmaCall& call) {
    const WgmmaScale rows = kSwapped ? call.b_scale : call.a_scale, columns = kSwapped ? call.a_scale : call.b_scale;
    typename Device::Arguments all;
    all.mode = cutlass::gemm::GemmUniversalMode::kGemm;
    all.problem_shape = {kSwapped ? call.n : call.m, kSwapped ? call.m : call.n, call.k, 1};
    all.mainloop.ptr_A = static_cast<const typename Shape::Left*>(kSwapped ? call.b : call.a);
    all.mainloop.ptr_B = static_cast<const typename Shape::Right*>(kSwapped ? call.a : call.b);
    all.mainloop.dA = {call.k, {}, 0};
    all.mainloop.dB = {call.k, {}, 0};
    all.epilogue.ptr_C = nullptr;
    all.epilogue.ptr_D = static_cast<Out*>(call.out);
    if constexpr (kSwapped) {
      all.epilogue.dD = {{}, call.out_stride, 0};
    } else {
      all.epilogue.dD = {call.out_stride, {}, 0};
    }
    all.epilogue.dC = all.epilogue.dD;
    all.epilogue.thread = {{},
                           {rows.data, 0, {rows.stride != 0, {}, {}}},
                           {columns.data, 0, {{}, columns.stride != 0, {}}},
                           bias(call),
                           {call.epilogue}};
    cudaGetDevice(&all.hw_info.device_id);
    all.hw_info.sm_count = call.multiprocessors;
    return all;
  }

  static typename Bias::Arguments bias(const WgmmaCall& call) {
    if constexpr (kSwapped) {
      return {call.bias, kNoBias, {true, {}, {}}};
    } else {
      return {call.bias, kNoBias, {{}, true, {}}};
    }
  }

  static void run(const WgmmaCall& call, cudaStream_t stream) {
    const typename Device::Arguments all = arguments(call);
    const Workspace<char> workspace(call.op, static_cast<std::int64_t>(Device::get_workspace_size(all)), stream);
    Device device;
    const cutlass::Status status = device.run(all, workspace.get(), stream);
    if (status == cutlass::Status::kSuccess) return;
    check(cudaGetLastError(), call.op);
    throw DeviceError(std::string(call.op) + ": CUTLASS: " + cutlassGetStatusString(status));
  }
};

}  // namespace fp8ref::cuda
