// SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/optional.h>

#include <optional>

#include "bind/bind.h"
#include "fp8ref/cpu.h"

namespace {

using namespace fp8ref::bind;

/// Operands and accumulators are bit patterns, but for float32; the names say which.
void mma(nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu> a, nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu> b,
         std::optional<nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>> c, AnyOut out, std::string_view a_dtype,
         std::string_view b_dtype, std::string_view accumulate, std::string_view out_dtype) {
  fp8ref::MmaArgs args{};
  args.a = a.data();
  args.b = b.data();
  args.a_type = operand_of(a_dtype);
  args.b_type = operand_of(b_dtype);
  args.m = static_cast<std::int64_t>(a.shape(0));
  args.n = static_cast<std::int64_t>(b.shape(0));
  args.k = static_cast<std::int64_t>(a.shape(1));
  args.c = c ? c->data() : nullptr;
  args.accumulate = accumulate_of(accumulate);
  args.out_dtype = out_dtype_of(out_dtype);
  args.out = out.data();
  fp8ref::cpu::mma(args);
}

}  // namespace

void bind_mma(nanobind::module_& m) {
  m.def("mma", &mma, nb::arg("a"), nb::arg("b"), nb::arg("c").none(), nb::arg("out"), nb::arg("a_dtype"),
        nb::arg("b_dtype"), nb::arg("accumulate"), nb::arg("out_dtype"), Unlocked());
}
