// SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/string.h>

#include <string>

#include "bind/matmul.h"
#include "kernels.h"

namespace {

using namespace fp8ref::bind;

/// Scales of shape (), (rows, 1), or for blocks (rows, blocks).
fp8ref::ScaleView scale_view(const In<float>& scale) {
  return {scale.data(), scale.ndim() == 0 ? 0 : static_cast<std::int64_t>(scale.shape(1))};
}

void scaled_mm(In<std::uint8_t> a, In<std::uint8_t> b, In<float> a_scale, In<float> b_scale,
               std::optional<In<float>> bias, AnyOut out, std::string_view a_dtype, std::string_view b_dtype,
               std::string_view scales, std::string_view out_dtype, std::string_view accumulate,
               std::string_view epilogue, std::int64_t split_k, float out_scale, std::string_view overflow) {
  const MatmulPolicy policy{a_dtype, b_dtype, scales, out_dtype, accumulate, epilogue, split_k, out_scale, overflow};
  fp8ref::ScaledMmArgs args = matmul_arguments(a, b, bias, policy, out);
  args.a_scale = scale_view(a_scale);
  args.b_scale = scale_view(b_scale);
  fp8ref::cpu::scaled_mm(args);
}

}  // namespace

void bind_scaled_mm(nanobind::module_& m) {
  m.def("scaled_mm", &scaled_mm, nb::arg("a"), nb::arg("b"), nb::arg("a_scale"), nb::arg("b_scale"),
        nb::arg("bias").none(), nb::arg("out"), nb::arg("a_dtype"), nb::arg("b_dtype"), nb::arg("scales"),
        nb::arg("out_dtype"), nb::arg("accumulate"), nb::arg("epilogue"), nb::arg("split_k"), nb::arg("out_scale"),
        nb::arg("overflow"), Unlocked());
  // For tests: the instruction set in use, and another choice among those of this machine.
  m.def("isa", [] { return std::string(fp8ref::cpu::kernels().name); });
  m.def("set_isa", &fp8ref::cpu::set_isa, nb::arg("name"));
}
