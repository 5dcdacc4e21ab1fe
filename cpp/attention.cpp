// SPDX-License-Identifier: Apache-2.0
// attention over arrays (spec/attention.md). A task is a block of queries that share a kv head: all their weights
// first, proven by intervals of the float64 scores; then numerators and denominators as float64 products of the weights
// with v, proven by intervals of the quotient. What stays open is computed exactly, one score or one output at a time.
#include "fp8ref/attention.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "attention_unit.h"
#include "dots.h"
#include "fp8ref/cpu.h"
#include "fp8ref/errors.h"
#include "fp8ref/modes.h"
#include "fpenv.h"
#include "parallel.h"

namespace fp8ref::cpu {
namespace {

constexpr std::int64_t kKeys = 64;             // keys worked on at once
constexpr std::int64_t kTaskRows = 64;         // query rows of a task ...
constexpr std::int64_t kTaskScores = 1 << 20;  // ... unless they have more scores than this

/// The storage of a thread.
struct Scratch {
  Buffer<double> q, k, dots, weights, v, sums, row_error, key_bound;
  Buffer<float> exponent, largest_exponent;
  Buffer<std::uint8_t> significand;
  Buffer<std::int16_t> largest_value;
};

/// Rows of queries over the keys of one kv head that some of them see: `keys` from `begin` on, which j = 0 means below.
class Task {
 public:
  Task(const AttentionArgs& args, std::int64_t kv_head, std::int64_t first, std::int64_t last);
  void run();

 private:
  std::int64_t of_head(std::int64_t row) const { return first_ * args_.group() + row; }
  std::int64_t row_offset(std::int64_t row) const { return args_.row_element(kv_head_, of_head(row)); }
  /// The keys that a row sees are those from first_visible to visible. [ATTN-VISIBLE]
  std::int64_t first_visible(std::int64_t row) const { return args_.first_visible(of_head(row)) - begin_; }
  std::int64_t visible(std::int64_t row) const { return args_.visible(of_head(row)) - begin_; }
  /// Whether some of `count` rows sees one of the keys [from, from + keys): rows and what they see ascend together.
  bool sees(std::int64_t row, std::int64_t count, std::int64_t from, std::int64_t keys) const {
    return visible(std::min(rows_, row + count) - 1) > from && first_visible(row) < from + keys;
  }
  const bf16* key(std::int64_t j) const { return args_.k + (begin_ + j) * stride_ + kv_head_ * args_.head_dim; }
  const bf16* values(std::int64_t j) const { return args_.v + (begin_ + j) * stride_ + kv_head_ * args_.head_dim; }
  const float* exponents(std::int64_t row) const { return exponent_ + row * keys_; }
  const std::uint8_t* significands(std::int64_t row) const { return significand_ + row * keys_; }

  void decode_queries();
  void score_keys(std::int64_t from, std::int64_t count);
  void weigh_row(std::int64_t row, std::int64_t from, std::int64_t count, const double* dots);
  void find_largest_exponents();
  void decode_values(std::int64_t from, std::int64_t count);
  void decode_weights(std::int64_t from, std::int64_t count);
  void add_keys(std::int64_t from, std::int64_t count);
  void finish_row(std::int64_t row);

  const AttentionArgs& args_;
  const std::int64_t kv_head_, first_, rows_, begin_, keys_, stride_;
  const std::int64_t depth_;    // head_dim, padded
  const std::int64_t columns_;  // head_dim and a column of ones, whose sum is the denominator; padded
  double *q_, *k_, *dots_, *weights_, *v_, *sums_, *row_error_, *key_bound_;
  float *exponent_, *largest_exponent_;
  std::uint8_t* significand_;
  std::int16_t* largest_value_;
};

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

Task::Task(const AttentionArgs& args, std::int64_t kv_head, std::int64_t first, std::int64_t last)
    : args_(args),
      kv_head_(kv_head),
      first_(first),
      rows_((last - first) * (args.q_heads / args.kv_heads)),
      begin_(args.first_visible(first * args.group())),
      keys_(args.visible(last * args.group() - 1) - begin_),
      stride_(args.kv_heads * args.head_dim),
      depth_(round_up(args.head_dim, kPadding)),
      columns_(round_up(args.head_dim + 1, kOuterColumns)) {
  thread_local Scratch scratch;
  const std::int64_t rows = round_up(rows_, kTileRows), panel = round_up(kKeys, kTileColumns);
  q_ = scratch.q.get(size(rows * depth_));
  k_ = scratch.k.get(size(panel * depth_));
  dots_ = scratch.dots.get(size(rows * panel));
  weights_ = scratch.weights.get(size(rows * kKeys));
  v_ = scratch.v.get(size(kKeys * columns_));
  sums_ = scratch.sums.get(size(rows * columns_));
  row_error_ = scratch.row_error.get(size(rows_));
  key_bound_ = scratch.key_bound.get(size(kKeys));
  exponent_ = scratch.exponent.get(size(rows_ * keys_));
  largest_exponent_ = scratch.largest_exponent.get(size(rows_));
  significand_ = scratch.significand.get(size(rows_ * keys_));
  largest_value_ = scratch.largest_value.get(size(args.head_dim));
}

void Task::run() {
  decode_queries();
  for (std::int64_t j = 0; j < keys_; j += kKeys) score_keys(j, std::min(kKeys, keys_ - j));
  find_largest_exponents();
  std::fill_n(sums_, round_up(rows_, kTileRows) * columns_, 0.0);
  std::fill_n(largest_value_, args_.head_dim, std::int16_t{0});
  std::fill_n(weights_, round_up(rows_, kTileRows) * kKeys, 0.0);
  for (std::int64_t j = 0; j < keys_; j += kKeys) add_keys(j, std::min(kKeys, keys_ - j));
  for (std::int64_t row = 0; row < rows_; ++row) finish_row(row);
}

/// Queries in float64, and what a row contributes to the error of its dots.
void Task::decode_queries() {
  const std::int64_t d = args_.head_dim;
  std::fill_n(q_, round_up(rows_, kTileRows) * depth_, 0.0);
  for (std::int64_t row = 0; row < rows_; ++row) {
    double* q = q_ + row * depth_;
    kernels().decode_bf16(args_.q + row_offset(row), d, q);
    double squares = 0;
    for (std::int64_t i = 0; i < d; ++i) squares += q[i] * q[i];
    row_error_[row] = attention_row_error(squares, d);
  }
}

/// The largest magnitude of a row: with it |k| <= sqrt(d) max |k_i|.
double largest_magnitude(const bf16* x, std::int64_t n) {
  std::int16_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i) largest = std::max(largest, static_cast<std::int16_t>(x[i].bits & 0x7FFF));
  return widen(bf16{static_cast<std::uint16_t>(largest)});
}

/// Weights of keys [from, from + count).
void Task::score_keys(std::int64_t from, std::int64_t count) {
  const std::int64_t d = args_.head_dim, panel = round_up(kKeys, kTileColumns);
  for (std::int64_t j = 0; j < count; ++j) {
    kernels().decode_bf16(key(from + j), d, k_ + j * depth_);
    std::fill(k_ + j * depth_ + d, k_ + (j + 1) * depth_, 0.0);
    key_bound_[j] = largest_magnitude(key(from + j), d);
  }
  std::fill(k_ + count * depth_, k_ + round_up(count, kTileColumns) * depth_, 0.0);
  std::fill_n(dots_, round_up(rows_, kTileRows) * panel, 0.0);
  for (std::int64_t row = 0; row < rows_; row += kTileRows) {
    if (!sees(row, kTileRows, from, count)) continue;
    for (std::int64_t j = 0; j < count; j += kTileColumns) {
      kernels().tile(q_ + row * depth_, depth_, k_ + j * depth_, depth_, depth_, dots_ + row * panel + j, panel);
    }
  }
  for (std::int64_t row = 0; row < rows_; ++row) {
    if (sees(row, 1, from, count)) weigh_row(row, from, count, dots_ + row * panel);
  }
}

/// The dots are those of the keys [from, from + count).
void Task::weigh_row(std::int64_t row, std::int64_t from, std::int64_t count, const double* dots) {
  const std::int64_t first = std::max(from, first_visible(row)), seen = std::min(from + count, visible(row)) - first;
  const double* bounds = key_bound_ + (first - from);
  const float c = args_.log2e_scale;
  float* exponent = exponent_ + row * keys_ + first;
  std::uint8_t* significand = significand_ + row * keys_ + first;
  dots += first - from;
  if (kernels().attention_weights(dots, row_error_[row], bounds, c, seen, exponent, significand)) return;
  for (std::int64_t j = 0; j < seen; ++j) {
    if (!is_nan(exponent[j])) continue;
    CertifiedWeight weight = attention_weight_within(dots[j], row_error_[row] * bounds[j], c);
    if (!weight.proven) {
      weight.value = attention_weight_exact(args_.q + row_offset(row), key(first + j), args_.head_dim, c);
    }
    exponent[j] = weight.value.exponent;
    significand[j] = static_cast<std::uint8_t>(weight.value.significand);
  }
}

void Task::find_largest_exponents() {
  for (std::int64_t row = 0; row < rows_; ++row) {
    const float* exponent = exponents(row);
    float largest = -INFINITY;
    for (std::int64_t j = first_visible(row); j < visible(row); ++j) largest = std::max(largest, exponent[j]);
    largest_exponent_[row] = largest;
  }
}

/// Values in float64, finite ones only, so that nothing leaks out of an invisible key; a column of ones; the largest
/// magnitude of each column, not finite if some value is not.
void Task::decode_values(std::int64_t from, std::int64_t count) {
  const std::int64_t d = args_.head_dim;
  std::int16_t largest = 0;
  for (std::int64_t j = 0; j < count; ++j) {
    const bf16* v = values(from + j);
    kernels().decode_bf16(v, d, v_ + j * columns_);
    v_[j * columns_ + d] = 1.0;
    std::fill(v_ + j * columns_ + d + 1, v_ + (j + 1) * columns_, 0.0);
    for (std::int64_t i = 0; i < d; ++i) {
      largest_value_[i] = std::max(largest_value_[i], static_cast<std::int16_t>(v[i].bits & 0x7FFF));
    }
  }
  for (std::int64_t i = 0; i < d; ++i) largest = std::max(largest, largest_value_[i]);
  if (largest < 0x7F80) return;
  for (std::int64_t i = 0; i < count * columns_; ++i) {
    if (!(std::fabs(v_[i]) < INFINITY)) v_[i] = 0.0;
  }
}

/// Weights relative to 2^(the row's largest exponent) in float64, exactly; 0 for what is invisible or negligible.
void Task::decode_weights(std::int64_t from, std::int64_t count) {
  for (std::int64_t row = 0; row < rows_; ++row) {
    const float largest = largest_exponent_[row];
    const bool usable = std::fabs(largest) < INFINITY;
    const std::int64_t first = std::clamp<std::int64_t>(first_visible(row) - from, 0, count);
    const std::int64_t seen = usable ? std::clamp<std::int64_t>(visible(row) - from, first, count) : first;
    const float* exponent = exponents(row) + from;
    const std::uint8_t* significand = significands(row) + from;
    double* weights = weights_ + row * kKeys;
    std::fill(weights, weights + first, 0.0);
    for (std::int64_t j = first; j < seen; ++j) {
      const float relative = std::max(exponent[j] - largest, kAttentionNegligible);
      const std::int64_t field = relative > kAttentionNegligible ? 1023 + static_cast<std::int32_t>(relative) : 0;
      weights[j] = bit_cast<double>(field << 52) * significand[j];
    }
    std::fill(weights + seen, weights + count, 0.0);
  }
}

void Task::add_keys(std::int64_t from, std::int64_t count) {
  decode_values(from, count);
  decode_weights(from, count);
  for (std::int64_t row = 0; row < rows_; row += kOuterRows) {
    if (!sees(row, kOuterRows, from, count)) continue;
    for (std::int64_t i = 0; i < columns_; i += kOuterColumns) {
      kernels().outer(weights_ + row * kKeys, kKeys, v_ + i, columns_, count, sums_ + row * columns_ + i, columns_);
    }
  }
}

void Task::finish_row(std::int64_t row) {
  const std::int64_t d = args_.head_dim, first = first_visible(row), seen = visible(row) - first;
  bf16* out = args_.out + row_offset(row);
  if (largest_exponent_[row] == INFINITY) {
    std::fill_n(out, d, bf16{kNanBf16});
    return;
  }
  const double* sums = sums_ + row * columns_;
  for (std::int64_t i = 0; i < d; ++i) {
    const AttentionColumn column{exponents(row) + first, significands(row) + first, values(first) + i, stride_, seen};
    const bf16 largest{static_cast<std::uint16_t>(largest_value_[i])};
    if (largest_exponent_[row] == -INFINITY || !is_finite(largest)) {
      out[i] = attention_output(column);
      continue;
    }
    const CertifiedOutput result = attention_within(sums[i], sums[d], widen(largest), seen);
    out[i] = result.proven() ? result.low : attention_between(column, ordinal(result.low), ordinal(result.high));
  }
}

}  // namespace

float attention_log2e_scale(std::int64_t head_dim) {
  const FpEnv env;
  return attention_default_factor(head_dim);
}

float attention_log2e_scale(double scale) {
  const FpEnv env;
  return attention_factor(scale);
}

void attention(const AttentionArgs& args) {
  const Mode* mode = find_mode(args.accumulate);
  if (mode == nullptr) throw OpError("attention: accumulate is no mode");
  if (mode->bf16 != Accumulate::exact) return attention_by_unit(args, mode->bf16);
  if (args.q_len == 0 || args.q_heads == 0) return;
  const std::int64_t group = args.q_heads / args.kv_heads;
  const std::int64_t keys = args.mask == Mask::chunked ? std::min(args.kv_len, args.chunk) : args.kv_len;
  const std::int64_t rows = std::clamp<std::int64_t>(kTaskScores / (keys + 1), 1, kTaskRows);
  const std::int64_t queries = std::clamp<std::int64_t>(rows / group, 1, args.q_len);
  const std::int64_t blocks = (args.q_len + queries - 1) / queries;
  parallel_for(blocks * args.kv_heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t first = task / args.kv_heads * queries;
      Task(args, task % args.kv_heads, first, std::min(args.q_len, first + queries)).run();
    }
  });
}

}  // namespace fp8ref::cpu
