// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda/matmul.h"

namespace {

using namespace fp8ref::bind;

/// Of a scale: its address, the elements from one row to the next, and row_bits of ScaleView.
void scaled_mm(Address a, std::string_view a_dtype, Address b, std::string_view b_dtype, std::int64_t m, std::int64_t n,
               std::int64_t k, Address a_scale, std::int64_t a_stride, Address b_scale, std::int64_t b_stride,
               int b_row_bits, Address bias, Address out, Address stream, std::string_view scales,
               std::string_view out_dtype, std::string_view accumulate, std::string_view epilogue, std::int64_t split_k,
               float out_scale, std::string_view overflow) {
  fp8ref::ScaledMmArgs args = matmul_arguments({a, a_dtype, b, b_dtype, m, n, k, bias, scales, out_dtype, accumulate,
                                                epilogue, split_k, out_scale, overflow, out});
  args.a_scale = {at<const float>(a_scale), a_stride};
  args.b_scale = {at<const float>(b_scale), b_stride, b_row_bits};
  fp8ref::cuda::scaled_mm(args, stream_at(stream));
}

}  // namespace

void bind_scaled_mm(nb::module_& m) { m.def("scaled_mm", &scaled_mm, Unlocked()); }
