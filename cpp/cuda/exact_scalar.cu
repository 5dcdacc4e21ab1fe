// SPDX-License-Identifier: Apache-2.0
// scaled_mm and grouped_mm for whatever has no kernel of its own: a thread for each output, over the functions of
// fp8ref/scaled_mm.h that the CPU's slow paths use too.
#include "cuda/exact.h"
#include "cuda/launch.h"
#include "cuda/scaled_mm.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 128;

/// The expert of a row, or -1.
__device__ std::int64_t expert_of(const GroupedMmArgs& args, std::int64_t row) {
  return args.offsets == nullptr ? 0 : expert_of_row(args.offsets, args.experts, row);
}

template <class A, class B>
__global__ void scalar_kernel(GroupedMmArgs args) {
  const ScaledMmArgs& all = args.all;
  for (std::int64_t index = grid_thread(); index < all.m * all.n; index += grid_threads()) {
    const std::int64_t i = index / all.n, j = index % all.n, expert = expert_of(args, i);
    if (expert < 0) continue;
    const A* a = reinterpret_cast<const A*>(a_codes(all, i));
    const B* b = reinterpret_cast<const B*>(b_codes(all, expert, j));
    const float *a_scale = all.a_scale.of_row(i), *b_scale = b_scales(args, expert, j);
    const float* bias = bias_of(args, expert, j);
    const float value =
        all.scales == Scales::blocks
            ? scaled_mm_block_element(a, b, all.k, a_scale, b_scale, bias, all.accumulate, all.epilogue)
            : scaled_mm_element(a, b, all.k, *a_scale, *b_scale, bias, all.accumulate, all.epilogue, all.split_k);
    store_output(all, i, j, value);
  }
}

}  // namespace

void scaled_mm_scalar(const GroupedMmArgs& args, Stream stream) {
  const bool a5 = args.all.a_type == Operand::e5m2, b5 = args.all.b_type == Operand::e5m2;
  const auto kernel = a5 ? (b5 ? scalar_kernel<e5m2, e5m2> : scalar_kernel<e5m2, e4m3>)
                         : (b5 ? scalar_kernel<e4m3, e5m2> : scalar_kernel<e4m3, e4m3>);
  launch("scaled_mm", kernel, blocks_for(args.all.m * args.all.n, kThreads), kThreads, 0, stream, args);
}

}  // namespace fp8ref::cuda
