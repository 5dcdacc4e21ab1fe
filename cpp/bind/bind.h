// SPDX-License-Identifier: Apache-2.0
// Shared by the bindings: array types as the Python side passes them, enum strings, error translation.
// The Python side (fp8ref/backends/cpu/) checks shapes and passes contiguous arrays: bf16 and fp16 as uint16 bit
// patterns, codes as uint8. Functions fill an `out` array that the caller made, and release the GIL while they work.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string_view.h>

#include "fp8ref/cpu.h"
#include "fp8ref/platform.h"
#include "fp8ref/rules.h"
#include "policies.h"

namespace fp8ref::bind {

namespace nb = nanobind;

template <class T>
using In = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
/// An array to fill, of the type that an argument names.
using AnyOut = nb::ndarray<nb::c_contig, nb::device::cpu>;
using Unlocked = nb::call_guard<nb::gil_scoped_release>;

inline const bf16* as_bf16(const std::uint16_t* p) { return reinterpret_cast<const bf16*>(p); }
inline bf16* as_bf16(std::uint16_t* p) { return reinterpret_cast<bf16*>(p); }
inline const fp16* as_fp16(const std::uint16_t* p) { return reinterpret_cast<const fp16*>(p); }
inline const e4m3* as_e4m3(const std::uint8_t* p) { return reinterpret_cast<const e4m3*>(p); }
inline e4m3* as_e4m3(std::uint8_t* p) { return reinterpret_cast<e4m3*>(p); }

using fp8ref::accumulate_of;
using fp8ref::epilogue_of;
using fp8ref::layout_of;
using fp8ref::mask_of;
using fp8ref::operand_of;
using fp8ref::out_dtype_of;
using fp8ref::overflow_of;
using fp8ref::rule_of;
using fp8ref::scales_of;
using fp8ref::weights_of;

/// fp8ref::OpError and the others become the classes of fp8ref.errors.
void register_errors();

}  // namespace fp8ref::bind
