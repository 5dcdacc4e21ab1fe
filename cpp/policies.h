// SPDX-License-Identifier: Apache-2.0
// Enum strings, the same in Python, C and JSON. The lookups throw OpError naming what is known. Internal.
#pragma once

#include <span>
#include <string_view>
#include <utility>

#include "fp8ref/args.h"
#include "fp8ref/llama.h"
#include "fp8ref/platform.h"
#include "fp8ref/rules.h"

namespace fp8ref {

Overflow overflow_of(std::string_view name);
Accumulate accumulate_of(std::string_view name);
Operand operand_of(std::string_view name);
Epilogue epilogue_of(std::string_view name);
Scales scales_of(std::string_view name);
OutDtype out_dtype_of(std::string_view name);
const Rule& rule_of(std::string_view name);
Mask mask_of(std::string_view name);
RopeLayout layout_of(std::string_view name);
Weights weights_of(std::string_view name);

/// All accumulators by name, for functions that take some of them.
std::span<const std::pair<std::string_view, Accumulate>> accumulates();

}  // namespace fp8ref
