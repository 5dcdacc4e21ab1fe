// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda/matmul.h"

namespace {

using namespace fp8ref::bind;

/// As scaled_mm, with offsets (experts + 1) and the elements from one expert's scales of b to the next one's.
void grouped_mm(Address a, std::string_view a_dtype, Address b, std::string_view b_dtype, std::int64_t rows,
                std::int64_t n, std::int64_t k, Address a_scale, std::int64_t a_stride, Address b_scale,
                std::int64_t b_stride, int b_row_bits, std::int64_t b_expert_stride, std::int64_t experts,
                Address offsets, Address bias, Address out, Address stream, std::string_view scales,
                std::string_view out_dtype, std::string_view accumulate, std::string_view epilogue,
                std::int64_t split_k, float out_scale, std::string_view overflow) {
  fp8ref::GroupedMmArgs args{};
  args.all = matmul_arguments({a, a_dtype, b, b_dtype, rows, n, k, bias, scales, out_dtype, accumulate, epilogue,
                               split_k, out_scale, overflow, out});
  args.all.a_scale = {at<const float>(a_scale), a_stride};
  args.all.b_scale = {at<const float>(b_scale), b_stride, b_row_bits};
  args.b_scale_stride = b_expert_stride;
  args.experts = experts;
  args.offsets = at<const std::int64_t>(offsets);
  fp8ref::cuda::grouped_mm(args, stream_at(stream));
}

}  // namespace

void bind_grouped_mm(nb::module_& m) { m.def("grouped_mm", &grouped_mm, Unlocked()); }
