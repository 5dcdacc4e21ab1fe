// SPDX-License-Identifier: Apache-2.0
// Tensor-core chains (fp8ref/mma.h) for all pairs of rows of two operands, 8 at a time. Internal.
#pragma once

#include <cstdint>
#include <functional>

#include "chain_kernels.h"
#include "fp8ref/cpu.h"

namespace fp8ref::cpu {

struct ChainOperands;

/// The chains of one row of a with up to kChainColumns rows of b.
class ChainTile {
 public:
  std::int64_t row, column, columns;

  ChainTile(const ChainOperands& operands, std::int64_t i, std::int64_t j, std::int64_t count, const void* a_steps,
            const void* b_steps)
      : row(i), column(j), columns(count), operands_(operands), a_(a_steps), b_(b_steps) {}

  /// Chains over [first, last) of k, one for each of kChainColumns columns (those past `columns` are without meaning).
  /// `first` is a multiple of 32, `last` too unless it is k. In: what each chain begins with, +0 or its element of c,
  /// as fp32; out: its result. A row that holds a NaN anywhere gives NaN for every range.
  void run(std::int64_t first, std::int64_t last, float* accumulators) const;

 private:
  float special(std::int64_t first, std::int64_t last, std::int64_t column, float accumulator) const;

  const ChainOperands& operands_;
  const void *a_, *b_;
};

/// Calls visit(tile) for tiles that cover (m, n), in parallel, in no order. Of args.c only the range of its magnitudes
/// plays a part, and `out` none.
void chain_tiles(const MmaArgs& args, const std::function<void(const ChainTile&)>& visit);

/// The fp32 accumulators of a tile over k from +0: promoted [MMA-PROMOTE] and in parts of K [MMA-SPLIT-K] as asked.
void accumulate_tile(const ChainTile& tile, std::int64_t k, Accumulate accumulate, std::int64_t split_k,
                     float* accumulators);

}  // namespace fp8ref::cpu
