// SPDX-License-Identifier: Apache-2.0
#include "bind/matmul.h"

namespace {

using namespace fp8ref::bind;

/// a: (rows, k); b: (experts, n, k); a_scale: (), (rows, 1) or (rows, blocks); b_scale: (), (experts,) or
/// (experts, n or 1 per 2^b_scale_row_bits of them, 1 or blocks); bias: (experts, n).
void grouped_mm(In<std::uint8_t> a, In<std::uint8_t> b, In<float> a_scale, In<float> b_scale, int b_scale_row_bits,
                In<std::int64_t> offsets, std::optional<In<float>> bias, AnyOut out, std::string_view a_dtype,
                std::string_view b_dtype, std::string_view scales, std::string_view out_dtype,
                std::string_view accumulate, std::string_view epilogue, std::int64_t split_k, float out_scale,
                std::string_view overflow) {
  const MatmulPolicy policy{a_dtype, b_dtype, scales, out_dtype, accumulate, epilogue, split_k, out_scale, overflow};
  fp8ref::GroupedMmArgs args{};
  args.all = matmul_arguments(a, b, bias, policy, out);
  args.all.a_scale = {a_scale.data(), a_scale.ndim() == 0 ? 0 : static_cast<std::int64_t>(a_scale.shape(1))};
  const bool rows = b_scale.ndim() == 3;
  args.all.b_scale = {b_scale.data(), rows ? static_cast<std::int64_t>(b_scale.shape(2)) : 0, b_scale_row_bits};
  args.b_scale_stride = rows ? static_cast<std::int64_t>(b_scale.shape(1) * b_scale.shape(2)) : b_scale.ndim() == 1;
  args.experts = static_cast<std::int64_t>(b.shape(0));
  args.offsets = offsets.data();
  fp8ref::cpu::grouped_mm(args);
}

}  // namespace

void bind_grouped_mm(nanobind::module_& m) {
  m.def("grouped_mm", &grouped_mm, nb::arg("a"), nb::arg("b"), nb::arg("a_scale"), nb::arg("b_scale"),
        nb::arg("b_scale_row_bits"), nb::arg("offsets"), nb::arg("bias").none(), nb::arg("out"), nb::arg("a_dtype"),
        nb::arg("b_dtype"), nb::arg("scales"), nb::arg("out_dtype"), nb::arg("accumulate"), nb::arg("epilogue"),
        nb::arg("split_k"), nb::arg("out_scale"), nb::arg("overflow"), Unlocked());
}
