// SPDX-License-Identifier: Apache-2.0
// What the wgmma kernels have in common: a CUTLASS mainloop and the epilogue of wgmma_scale.h. Only wgmma_kernel_*.cu
// may include this. Each kernel takes about a minute to compile, so it includes little that ever changes.
#pragma once

#include <cutlass/cutlass.h>
#include <cutlass/gemm/device/gemm_universal_adapter.h>

#include <cutlass/epilogue/collective/collective_builder.hpp>
#include <cutlass/epilogue/fusion/sm90_callbacks_tma_warpspecialized.hpp>
#include <cutlass/gemm/collective/collective_builder.hpp>
#include <cutlass/gemm/kernel/gemm_universal.hpp>
#include <optional>
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

/// A kernel out of CUTLASS's parts. Shape says which: operands as the kernel takes them (Left, Right), Out, Tile,
/// Cluster, Mainloop and Store (CUTLASS's schedules), and the sides. Pointers are one for each group where it is
/// for grouped_mm.
template <class Shape, bool grouped>
struct WgmmaParts {
  static constexpr bool kSwapped = Shape::kSides == Sides::swapped;
  using Left = typename Shape::Left;
  using Right = typename Shape::Right;
  using Out = typename Shape::Out;
  using Tile = typename Shape::Tile;
  template <class T>
  using PerGroup = std::conditional_t<grouped, T*, T>;
  using LeftLayout = PerGroup<cutlass::layout::RowMajor>;
  using RightLayout = PerGroup<cutlass::layout::ColumnMajor>;
  using OutLayout = PerGroup<std::conditional_t<kSwapped, cutlass::layout::ColumnMajor, cutlass::layout::RowMajor>>;
  static constexpr int kCodesAligned = 16, kOutAligned = 16 / sizeof(Out);

  // One scale for each row or column, or one for all: the stride is chosen at run time.
  using OfRows = cutlass::epilogue::fusion::Sm90ColBroadcast<0, Tile, PerGroup<float>, float,
                                                             cute::Stride<bool, cute::_0, cute::_0>, 1>;
  using OfColumns = cutlass::epilogue::fusion::Sm90RowBroadcast<0, Tile, PerGroup<float>, float,
                                                                cute::Stride<cute::_0, bool, cute::_0>, 1>;
  using Bias = std::conditional_t<kSwapped, OfRows, OfColumns>;
  using Steps = cutlass::epilogue::fusion::Sm90Compute<WgmmaEpilogue<Out, Shape::kSides>::template Of, Out, float,
                                                       cutlass::FloatRoundStyle::round_to_nearest>;
  using Epilogue =
      cutlass::epilogue::fusion::Sm90EVT<Steps, cutlass::epilogue::fusion::Sm90AccFetch, OfRows, OfColumns, Bias>;

  using Store = typename cutlass::epilogue::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Tile, typename Shape::Cluster,
      cutlass::epilogue::collective::EpilogueTileAuto, float, float, void, OutLayout, kOutAligned, Out, OutLayout,
      kOutAligned, typename Shape::Store, Epilogue>::CollectiveOp;
  using Stages =
      cutlass::gemm::collective::StageCountAutoCarveout<static_cast<int>(sizeof(typename Store::SharedStorage))>;
  using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Left, LeftLayout, kCodesAligned, Right, RightLayout,
      kCodesAligned, float, Tile, typename Shape::Cluster, Stages, typename Shape::Mainloop>::CollectiveOp;

  static typename OfRows::Arguments of_rows(decltype(OfRows::Arguments::ptr_col) data, bool each, float none = 0) {
    return {data, none, {each, {}, {}}};
  }
  static typename OfColumns::Arguments of_columns(decltype(OfColumns::Arguments::ptr_row) data, bool each,
                                                  float none = 0) {
    return {data, none, {{}, each, {}}};
  }
};

/// Queues a kernel; what CUTLASS or CUDA says against it becomes an exception.
template <class Kernel>
void wgmma_queue(const WgmmaCall& call, const typename Kernel::Arguments& arguments, cudaStream_t stream) {
  using Device = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;
  const auto bytes = static_cast<std::int64_t>(Device::get_workspace_size(arguments));
  std::optional<Workspace<char>> workspace;
  if (bytes > 0) workspace.emplace(call.op, bytes, stream);
  Device device;
  const cutlass::Status status = device.run(arguments, bytes > 0 ? workspace->get() : nullptr, stream);
  if (status == cutlass::Status::kSuccess) return;
  check(cudaGetLastError(), call.op);
  throw DeviceError(std::string(call.op) + ": CUTLASS: " + cutlassGetStatusString(status));
}

/// The device in use. Its size is asked once, not at every launch.
inline cutlass::KernelHardwareInfo wgmma_hardware(const WgmmaCall& call) {
  cutlass::KernelHardwareInfo hardware;
  check(cudaGetDevice(&hardware.device_id), call.op);
  hardware.sm_count = call.multiprocessors;
  return hardware;
}

/// scaled_mm: a persistent kernel, each tile by one block over all of K. No split-K, no stream-K.
template <class Shape>
struct Wgmma : WgmmaParts<Shape, false> {
  using Parts = WgmmaParts<Shape, false>;
  using Kernel = cutlass::gemm::kernel::GemmUniversal<cute::Shape<int, int, int, int>, typename Parts::Mainloop,
                                                      typename Parts::Store, cutlass::gemm::PersistentScheduler>;

  /// The product as the kernel sees it: its rows and columns are n and m where the sides are swapped.
  static typename Kernel::Arguments arguments(const WgmmaCall& call) {
    constexpr bool swapped = Parts::kSwapped;
    const ScaleView rows = swapped ? call.b_scale : call.a_scale, columns = swapped ? call.a_scale : call.b_scale;
    typename Kernel::Arguments all;
    all.mode = cutlass::gemm::GemmUniversalMode::kGemm;
    all.problem_shape = {static_cast<int>(swapped ? call.n : call.m), static_cast<int>(swapped ? call.m : call.n),
                         static_cast<int>(call.k), 1};
    all.mainloop.ptr_A = static_cast<const typename Parts::Left*>(swapped ? call.b : call.a);
    all.mainloop.ptr_B = static_cast<const typename Parts::Right*>(swapped ? call.a : call.b);
    all.mainloop.dA = {call.k, {}, 0};
    all.mainloop.dB = {call.k, {}, 0};
    typename Parts::Bias::Arguments bias;
    if constexpr (swapped) {
      all.epilogue.dD = {{}, call.out_stride, 0};
      bias = Parts::of_rows(call.bias, true, kNoBias);
    } else {
      all.epilogue.dD = {call.out_stride, {}, 0};
      bias = Parts::of_columns(call.bias, true, kNoBias);
    }
    all.epilogue.thread = {{},
                           Parts::of_rows(rows.data, rows.stride != 0),
                           Parts::of_columns(columns.data, columns.stride != 0),
                           bias,
                           {call.epilogue}};
    all.epilogue.ptr_C = nullptr;
    all.epilogue.dC = all.epilogue.dD;
    all.epilogue.ptr_D = static_cast<typename Parts::Out*>(call.out);
    all.hw_info = wgmma_hardware(call);
    all.scheduler.max_swizzle_size = 8;  // neighbouring tiles in time share operands in the L2 cache
    return all;
  }

  static void run(const WgmmaCall& call, cudaStream_t stream) { wgmma_queue<Kernel>(call, arguments(call), stream); }
};

/// What the kernels of scaled_mm have in common.
template <class T, class Schedule, class... Dimensions>
struct DenseShape {
  using Left = cutlass::float_e4m3_t;
  using Right = cutlass::float_e4m3_t;
  using Out = T;
  using Tile = cute::Shape<Dimensions...>;
  using Cluster = cute::Shape<cute::_2, cute::_1, cute::_1>;
  using Mainloop = Schedule;
  using Store = cutlass::epilogue::TmaWarpSpecialized;
  static constexpr Sides kSides = Sides::as_is;
};

}  // namespace fp8ref::cuda
