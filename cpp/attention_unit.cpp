// SPDX-License-Identifier: Apache-2.0
// attention by a tensor core over arrays (spec/attention.md, [ATTN-UNIT]). A task is a range of queries that share a kv
// head, as rows; it walks over the blocks of keys in order, with two matrix products by chains for each.
#include "attention_unit.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "fp8ref/attention_unit.h"
#include "fp8ref/cpu.h"
#include "kernels.h"
#include "parallel.h"

namespace fp8ref::cpu {
namespace {

constexpr std::int64_t kTaskRows = 64;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

/// For each row M and d + 1 sums, the last of them the denominator. [ATTN-UNIT-MERGE]
struct States {
  float *top, *sums;

  void clear(std::int64_t rows, std::int64_t columns) const {
    std::fill_n(top, rows, -INFINITY);
    std::fill_n(sums, rows * columns, 0.0f);
  }
};

/// Merges one row of `from` into that of `into`.
void merge(const States& into, const States& from, std::int64_t row, std::int64_t columns) {
  const float top = std::max(into.top[row], from.top[row]);
  const float own = attention_merge_factor(into.top[row], top), other = attention_merge_factor(from.top[row], top);
  into.top[row] = top;
  float *x = into.sums + row * columns, *y = from.sums + row * columns;
  for (std::int64_t i = 0; i < columns; ++i) x[i] = attention_merge(x[i], own, y[i], other);
}

/// The storage of a thread.
struct Scratch {
  Buffer<bf16> q, k, v, weights;
  Buffer<float> t, sums, tops;
  Buffer<std::uint8_t> broken, special;
};

/// The keys [from, from + count) of a block, and the rows [begin, end) that see some of them: rows and what they see
/// ascend together.
struct Block {
  std::int64_t from, count, begin, end;

  std::int64_t rows() const { return end - begin; }
};

class Task {
 public:
  Task(const AttentionArgs& args, Accumulate unit, std::int64_t kv_head, std::int64_t first, std::int64_t last);
  void run();

 private:
  std::int64_t of_head(std::int64_t row) const { return first_ * args_.group() + row; }
  std::int64_t row_offset(std::int64_t row) const { return args_.row_element(kv_head_, of_head(row)); }
  /// The keys that a row sees are those from first_visible to visible. [ATTN-VISIBLE]
  std::int64_t first_visible(std::int64_t row) const { return args_.first_visible(of_head(row)); }
  std::int64_t visible(std::int64_t row) const { return args_.visible(of_head(row)); }
  const bf16* values(std::int64_t j) const { return args_.v + j * stride_ + kv_head_ * args_.head_dim; }

  void add_block(std::int64_t from, std::int64_t count);
  void score(const Block& block);
  void weigh_row(std::int64_t row, const Block& block);
  void sum(const Block& block);
  void sum_special(const Block& block);
  void multiply(const bf16* a, std::int64_t m, const bf16* b, std::int64_t n, std::int64_t k, float* out) const;

  const AttentionArgs& args_;
  const Accumulate unit_;
  const TensorCore core_;
  const std::int64_t kv_head_, first_, rows_;
  const std::int64_t keys_;  // the end of those that the last row sees
  const std::int64_t stride_;
  const std::int64_t columns_;  // head_dim and a column of ones
  bf16 *q_, *k_, *v_, *weights_;
  float* t_;  // of the keys of a block; -Inf where there is no term
  States block_, part_, row_;
  std::uint8_t *broken_, *special_;  // rows; columns of v that hold an infinity or a NaN
};

Task::Task(const AttentionArgs& args, Accumulate unit, std::int64_t kv_head, std::int64_t first, std::int64_t last)
    : args_(args),
      unit_(unit),
      core_(tensor_core(unit, OperandClass::bf16, OutDtype::float32)),
      kv_head_(kv_head),
      first_(first),
      rows_((last - first) * (args.q_heads / args.kv_heads)),
      keys_(args.visible(last * args.group() - 1)),
      stride_(args.kv_heads * args.head_dim),
      columns_(args.head_dim + 1) {
  thread_local Scratch scratch;
  q_ = scratch.q.get(size(rows_ * args.head_dim));
  k_ = scratch.k.get(size(kAttentionBlock * args.head_dim));
  v_ = scratch.v.get(size(kAttentionBlock * columns_));
  weights_ = scratch.weights.get(size(rows_ * kAttentionBlock));
  t_ = scratch.t.get(size(rows_ * kAttentionBlock));
  float *sums = scratch.sums.get(size(3 * rows_ * columns_)), *tops = scratch.tops.get(size(3 * rows_));
  block_ = {tops, sums};
  part_ = {tops + rows_, sums + rows_ * columns_};
  row_ = {tops + 2 * rows_, sums + 2 * rows_ * columns_};
  broken_ = scratch.broken.get(size(rows_));
  special_ = scratch.special.get(size(args.head_dim));
}

void Task::run() {
  const std::int64_t d = args_.head_dim;
  for (std::int64_t row = 0; row < rows_; ++row) std::copy_n(args_.q + row_offset(row), d, q_ + row * d);
  std::fill_n(broken_, rows_, std::uint8_t{0});
  row_.clear(rows_, columns_);
  // Blocks that no row sees are passed over: a state without terms would change nothing. [ATTN-UNIT-MERGE]
  std::int64_t block = first_visible(0) / kAttentionBlock * kAttentionBlock;
  while (block < keys_) {
    part_.clear(rows_, columns_);
    const std::int64_t superblock = block / kAttentionSuperblock * kAttentionSuperblock;
    const std::int64_t end = std::min<std::int64_t>(keys_, superblock + kAttentionSuperblock);
    for (; block < end; block += kAttentionBlock) {
      add_block(block, std::min<std::int64_t>(kAttentionBlock, end - block));
    }
    for (std::int64_t row = 0; row < rows_; ++row) merge(row_, part_, row, columns_);
  }
  for (std::int64_t row = 0; row < rows_; ++row) {
    bf16* out = args_.out + row_offset(row);
    const float* sums = row_.sums + row * columns_;
    for (std::int64_t i = 0; i < d; ++i) {
      out[i] = broken_[row] != 0 ? bf16{kNanBf16} : attention_unit_output(sums[i], sums[d]);
    }
  }
}

void Task::add_block(std::int64_t from, std::int64_t count) {
  Block block{from, count, 0, rows_};
  while (block.begin < rows_ && visible(block.begin) <= from) ++block.begin;
  while (block.end > block.begin && first_visible(block.end - 1) >= from + count) --block.end;
  if (block.rows() == 0) return;
  score(block);
  for (std::int64_t row = block.begin; row < block.end; ++row) weigh_row(row, block);
  sum(block);
  for (std::int64_t row = block.begin; row < block.end; ++row) merge(part_, block_, row, columns_);
}

/// out (m, n): one chain over k for every output.
void Task::multiply(const bf16* a, std::int64_t m, const bf16* b, std::int64_t n, std::int64_t k, float* out) const {
  mma({a, b, Operand::bf16, Operand::bf16, m, n, k, nullptr, unit_, OutDtype::float32, out});
}

/// The scores of a block, in t_. [ATTN-UNIT-SCORE]
void Task::score(const Block& block) {
  const std::int64_t d = args_.head_dim;
  for (std::int64_t j = 0; j < block.count; ++j) {
    std::copy_n(args_.k + (block.from + j) * stride_ + kv_head_ * d, d, k_ + j * d);
  }
  multiply(q_ + block.begin * d, block.rows(), k_, block.count, d, t_ + block.begin * block.count);
}

/// A row's t, M and weights of a block. [ATTN-UNIT-WEIGHT]
void Task::weigh_row(std::int64_t row, const Block& block) {
  const std::int64_t count = block.count;
  const std::int64_t first = std::clamp<std::int64_t>(first_visible(row) - block.from, 0, count);
  const std::int64_t seen = std::min(count, visible(row) - block.from);
  float *t = t_ + row * count, largest = -INFINITY;
  std::fill(t, t + first, -INFINITY);
  std::fill(t + seen, t + count, -INFINITY);
  for (std::int64_t j = first; j < seen; ++j) {
    t[j] = mul32(args_.log2e_scale, t[j]);
    if (!(t[j] < INFINITY)) {  // [ATTN-BROKEN]
      broken_[row] = 1;
      t[j] = -INFINITY;
    }
    largest = std::max(largest, t[j]);
  }
  const float top = block_.top[row] = attention_top(largest);
  for (std::int64_t j = 0; j < count; ++j) {
    weights_[row * count + j] = t[j] > -INFINITY ? attention_unit_weight(attention_weight(t[j]), top) : bf16{0};
  }
}

/// The sums of a block. A weight of +0 hides a finite value, so all rows share v; columns with others are done again.
/// [ATTN-UNIT-SUMS]
void Task::sum(const Block& block) {
  const std::int64_t d = args_.head_dim, count = block.count;
  std::fill_n(special_, d, std::uint8_t{0});
  for (std::int64_t j = 0; j < count; ++j) {
    const bf16* v = values(block.from + j);
    for (std::int64_t i = 0; i < d; ++i) {
      v_[i * count + j] = is_finite(v[i]) ? v[i] : bf16{0};
      special_[i] |= !is_finite(v[i]);
    }
    v_[d * count + j] = bf16{0x3F80};
  }
  multiply(weights_ + block.begin * count, block.rows(), v_, columns_, count, block_.sums + block.begin * columns_);
  sum_special(block);
}

/// [ATTN-UNIT-SPECIAL]
void Task::sum_special(const Block& block) {
  const std::int64_t count = block.count;
  for (std::int64_t i = 0; i < args_.head_dim; ++i) {
    for (std::int64_t row = block.begin; special_[i] != 0 && row < block.end; ++row) {
      block_.sums[row * columns_ + i] = attention_unit_sum(core_, weights_ + row * count, t_ + row * count,
                                                           values(block.from) + i, stride_, static_cast<int>(count));
    }
  }
}

}  // namespace

void attention_by_unit(const AttentionArgs& args, Accumulate unit) {
  if (args.q_len == 0 || args.q_heads == 0) return;
  const std::int64_t group = args.q_heads / args.kv_heads;
  const std::int64_t queries = std::clamp<std::int64_t>(kTaskRows / group, 1, args.q_len);
  const std::int64_t blocks = (args.q_len + queries - 1) / queries;
  parallel_for(blocks * args.kv_heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t first = task / args.kv_heads * queries;
      Task(args, unit, task % args.kv_heads, first, std::min(args.q_len, first + queries)).run();
    }
  });
}

}  // namespace fp8ref::cpu
