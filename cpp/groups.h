// SPDX-License-Identifier: Apache-2.0
// Working on groups of rows, one for each expert (spec/grouped_mm.md). Internal.
#pragma once

#include <cstdint>
#include <functional>

#include "fp8ref/args.h"

namespace fp8ref::cpu {

/// Calls body(expert, first row, rows) for every expert that has rows [GROUPED-EMPTY]. Many small groups run in
/// parallel, each on one thread; otherwise one after the other, each with all threads.
void for_groups(const std::int64_t* offsets, std::int64_t experts,
                const std::function<void(std::int64_t, std::int64_t, std::int64_t)>& body);

/// The product of one expert.
ScaledMmArgs group(const GroupedMmArgs& args, std::int64_t expert);

}  // namespace fp8ref::cpu
