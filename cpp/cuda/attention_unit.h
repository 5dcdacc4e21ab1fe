// SPDX-License-Identifier: Apache-2.0
// attention by a tensor core [ATTN-UNIT]: the states of runs of blocks, made by one kernel and merged by another.
// Internal.
#pragma once

#include <cstdint>

#include "fp8ref/args.h"
#include "fp8ref/attention_unit.h"
#include "fp8ref/cuda.h"

namespace fp8ref::cuda {

/// The fast kernel leaves tiles with NaN or infinite sums to the scalar one; `none` lets a test see that it does not
/// hide anything else.
enum class Repair { special, none };
void attention_unit(const AttentionArgs& args, Stream stream, Repair repair = Repair::special);

/// How the keys are shared out: a run is `span` neighbouring blocks of 128 keys, 1 or a superblock of 16, and a tile of
/// rows has the runs from the first that it sees something of on. The state of a run, of each row, is M (+Inf: a broken
/// row), l and n[0 .. d - 1]. The rows of a kv head are its queries and, for each, the query heads that share it.
struct AttentionRuns {
  AttentionArgs args;
  int span;
  std::int64_t tile_rows, rows;  // rows of one kv head
  std::int64_t runs;             // of a tile at most
  float* states;                 // (kv_heads, rows, runs, d + 2)

  FP8REF_HD std::int64_t first_visible(std::int64_t row) const { return args.first_visible(row); }
  FP8REF_HD std::int64_t visible(std::int64_t row) const { return args.visible(row); }
  FP8REF_HD std::int64_t element(std::int64_t kv_head, std::int64_t row) const {
    return args.row_element(kv_head, row);
  }
  FP8REF_HD std::int64_t key_element(std::int64_t kv_head, std::int64_t key) const {  // in k and v
    return (key * args.kv_heads + kv_head) * args.head_dim;
  }
  FP8REF_HD std::int64_t run_keys() const { return std::int64_t{span} * kAttentionBlock; }
  /// The first run of the tile that a row belongs to.
  FP8REF_HD std::int64_t first_run(std::int64_t row) const { return first_visible(row - row % tile_rows) / run_keys(); }
  /// The state of a run, counted from the first of the row's tile.
  FP8REF_HD float* state(std::int64_t kv_head, std::int64_t row, std::int64_t run) const {
    return states + ((kv_head * rows + row) * runs + run) * (args.head_dim + 2);
  }
};

/// The state of one run in two: broken rows have top = +Inf for good.
FP8REF_HD float merged_top(float a, float b) { return a > b ? a : b; }

}  // namespace fp8ref::cuda
