// SPDX-License-Identifier: Apache-2.0
// attention by a tensor core over arrays. Internal.
#pragma once

#include "fp8ref/cpu.h"

namespace fp8ref::cpu {

/// attention with the chains of a unit that takes bf16 [ATTN-UNIT]; args.accumulate plays no part.
void attention_by_unit(const AttentionArgs& args, Accumulate unit);

}  // namespace fp8ref::cpu
