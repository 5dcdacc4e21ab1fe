// SPDX-License-Identifier: Apache-2.0
// Tensor cores over arrays (spec/mma.md): operands are packed once, chains run 8 outputs at a time. What holds an
// infinity, or begins with one or with a NaN, is computed by the scalar semantics.
#include "fp8ref/mma.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "chain_pack.h"
#include "chains.h"
#include "fp8ref/cpu.h"
#include "fp8ref/errors.h"
#include "fpenv.h"
#include "kernels.h"
#include "parallel.h"

namespace fp8ref::cpu {

/// The operands of a call, and how its chains are walked.
struct ChainOperands {
  MmaArgs args;
  TensorCore core;
  std::size_t core_index;
  bool wide;
  std::vector<std::uint8_t> a_flags, b_flags;

  explicit ChainOperands(const MmaArgs& given);
};

namespace {

constexpr std::int64_t kWorkPerTask = 1 << 15;                  // multiply-adds
constexpr std::int64_t kRowsPerTask = 256;                      // of a, for one packed tile of b
constexpr std::int64_t kPackedStorage = std::int64_t{1} << 26;  // bytes of packed a held at once

OperandClass class_of(Operand type) {
  return with_operand(type, nullptr, [](const auto* x) { return Encoding<std::decay_t<decltype(*x)>>::kClass; });
}

std::vector<std::uint8_t> all_flags(const void* data, Operand type, std::int64_t rows, std::int64_t k) {
  std::vector<std::uint8_t> flags(static_cast<std::size_t>(rows));
  with_operand(type, data, [&](const auto* x) {
    parallel_for(rows, 8 * kWorkPerTask / (k + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) flags[static_cast<std::size_t>(i)] = row_flags(x + i * k, k);
    });
  });
  return flags;
}

bool any_wide(const std::vector<std::uint8_t>& flags) {
  return std::find(flags.begin(), flags.end(), kWideRow) != flags.end();
}

/// Whether fp32 accumulators to begin with are beyond what narrow chains take.
bool begins_wide(const float* c, std::int64_t n) {
  return c != nullptr && std::any_of(c, c + n, [](float x) {
           const float magnitude = std::fabs(x);
           return magnitude != 0 && magnitude < INFINITY && (magnitude < kNarrowLeast || magnitude > kNarrowMost);
         });
}

/// The chain of one output by the scalar semantics.
template <class A, class B>
float scalar_chain(const TensorCore& core, const A* a, const B* b, std::int64_t k, float c) {
  if constexpr (Encoding<A>::kClass == Encoding<B>::kClass) {
    if (core.result == Conversion::fp16) return widen(tensor_core_chain(core, a, b, k, rn16(c)));
    return tensor_core_chain(core, a, b, k, c);
  } else {
    throw OpError("operands of a tensor core must be of one class");
  }
}

template <class Row, class Tile>
void pack_columns(const ChainOperands& operands, std::int64_t column, std::int64_t columns, Tile* steps) {
  const MmaArgs& args = operands.args;
  with_operand(args.b_type, args.b, [&](const auto* b) {
    using T = std::decay_t<decltype(*b)>;
    if constexpr (std::is_same_v<T, e4m3> && std::is_same_v<Tile, NarrowTile>) {
      if (operands.core.order == Order::chain) {
        return pack_e4m3_tile(b + column * args.k, columns, args.k, *kernels().chains, steps);
      }
    }
    pack_tile<T, Row>(b + column * args.k, columns, args.k, operands.core.order, steps);
  });
}

/// All tiles, in groups of rows of a that are packed together.
template <class Row, class Tile>
void for_tiles(const ChainOperands& operands, const std::function<void(const ChainTile&)>& visit) {
  const MmaArgs& args = operands.args;
  const std::int64_t steps = (args.k + kChainDepth - 1) / kChainDepth;
  const std::int64_t column_tiles = (args.n + kChainColumns - 1) / kChainColumns;
  const std::int64_t row_bytes = (steps + 1) * static_cast<std::int64_t>(sizeof(Row));
  const std::int64_t group = std::max<std::int64_t>(kPackedStorage / row_bytes / kRowsPerTask, 1) * kRowsPerTask;
  Buffer<Row> storage;
  for (std::int64_t top = 0; top < args.m; top += group) {
    const std::int64_t rows = std::min(group, args.m - top), chunks = (rows + kRowsPerTask - 1) / kRowsPerTask;
    Row* a = storage.get(static_cast<std::size_t>(rows * steps));
    with_operand(args.a_type, args.a, [&](const auto* x) {
      parallel_for(rows, kWorkPerTask / (args.k + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          pack_row(x + (top + i) * args.k, args.k, operands.core.order, a + i * steps);
        }
      });
    });
    const std::int64_t work = std::min(rows, kRowsPerTask) * args.k * kChainColumns;
    parallel_for(column_tiles * chunks, kWorkPerTask / (work + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
      thread_local Buffer<Tile> tile_storage;
      Tile* b = tile_storage.get(static_cast<std::size_t>(steps));
      for (std::int64_t task = begin; task < end; ++task) {
        const std::int64_t column = task / chunks * kChainColumns, first = task % chunks * kRowsPerTask;
        const std::int64_t columns = std::min<std::int64_t>(kChainColumns, args.n - column);
        if (task == begin || first == 0) pack_columns<Row>(operands, column, columns, b);
        for (std::int64_t i = first; i < std::min(first + kRowsPerTask, rows); ++i) {
          visit({operands, top + i, column, columns, a + i * steps, b});
        }
      }
    });
  }
}

/// Adds the chains of [first, last), whole tiles of K one by one if promoted, to `sums`: to nothing if `fresh`.
void add_part(const ChainTile& tile, std::int64_t first, std::int64_t last, std::int64_t depth, bool fresh,
              float* sums) {
  float part[kChainColumns] = {};
  for (std::int64_t p = first; p < last; p += depth) {
    float chain[kChainColumns] = {};
    tile.run(p, std::min(p + depth, last), chain);
    for (int c = 0; c < kChainColumns; ++c) part[c] = p == first ? chain[c] : part[c] + chain[c];
  }
  for (int c = 0; c < kChainColumns; ++c) sums[c] = fresh ? part[c] : sums[c] + part[c];
}

}  // namespace

ChainOperands::ChainOperands(const MmaArgs& given) : args(given) {
  core = tensor_core(unit_of(args.accumulate), class_of(args.a_type), args.out_dtype);
  if (core.block == 0 || class_of(args.a_type) != class_of(args.b_type)) {
    throw OpError("mma: the tensor core has no such operands");
  }
  core_index = static_cast<std::size_t>(std::find(kCores.begin(), kCores.end(), core) - kCores.begin());
  a_flags = all_flags(args.a, args.a_type, args.m, args.k);
  b_flags = all_flags(args.b, args.b_type, args.n, args.k);
  const auto* c = args.out_dtype == OutDtype::float32 ? static_cast<const float*>(args.c) : nullptr;
  wide = may_be_wide(core) && (any_wide(a_flags) || any_wide(b_flags) || begins_wide(c, args.m * args.n));
}

float ChainTile::special(std::int64_t first, std::int64_t last, std::int64_t j, float accumulator) const {
  const MmaArgs& args = operands_.args;
  return with_operand(args.a_type, args.a, [&](const auto* a) {
    return with_operand(args.b_type, args.b, [&](const auto* b) {
      return scalar_chain(operands_.core, a + row * args.k + first, b + j * args.k + first, last - first, accumulator);
    });
  });
}

void ChainTile::run(std::int64_t first, std::int64_t last, float* accumulators) const {
  if (first >= last) return;
  const std::int64_t start = first / kChainDepth, steps = (last - first + kChainDepth - 1) / kChainDepth;
  float given[kChainColumns];
  std::copy_n(accumulators, kChainColumns, given);
  for (int c = 0; c < kChainColumns; ++c) {
    if (!(std::fabs(given[c]) < INFINITY)) accumulators[c] = 0;
  }
  const ChainKernels& chains = *kernels().chains;
  if (operands_.wide) {
    chains.wide[operands_.core_index](static_cast<const WideRow*>(a_) + start, static_cast<const WideTile*>(b_) + start,
                                      steps, accumulators);
  } else {
    chains.narrow[operands_.core_index](static_cast<const NarrowRow*>(a_) + start,
                                        static_cast<const NarrowTile*>(b_) + start, steps, accumulators);
  }
  for (std::int64_t c = 0; c < columns; ++c) {
    const unsigned flags =
        operands_.a_flags[static_cast<std::size_t>(row)] | operands_.b_flags[static_cast<std::size_t>(column + c)];
    if ((flags & kNanRow) != 0 || is_nan(given[c])) {
      accumulators[c] = mma_nan<float>();
    } else if ((flags & kInfiniteRow) != 0 || is_inf(given[c])) {
      accumulators[c] = special(first, last, column + c, given[c]);
    } else if (is_nan(accumulators[c])) {
      accumulators[c] = mma_nan<float>();
    }
  }
}

void chain_tiles(const MmaArgs& args, const std::function<void(const ChainTile&)>& visit) {
  if (args.m == 0 || args.n == 0) return;
  const ChainOperands operands(args);
  if (operands.wide) {
    for_tiles<WideRow, WideTile>(operands, visit);
  } else {
    for_tiles<NarrowRow, NarrowTile>(operands, visit);
  }
}

void accumulate_tile(const ChainTile& tile, std::int64_t k, Accumulate accumulate, std::int64_t split_k,
                     float* accumulators) {
  std::fill_n(accumulators, kChainColumns, 0.0f);
  const std::int64_t part = split_depth(k, split_k);
  const std::int64_t depth = accumulate == Accumulate::sm90_wgmma_promoted ? kMmaTile : part;
  for (std::int64_t p = 0; p < k; p += part) add_part(tile, p, std::min(p + part, k), depth, p == 0, accumulators);
}

void mma(const MmaArgs& args) {
  if (args.accumulate != unit_of(args.accumulate)) throw OpError("mma: a promoted accumulator is no unit");
  const FpEnv env;
  chain_tiles(args, [&](const ChainTile& tile) {
    const bool half = args.out_dtype == OutDtype::float16;
    const std::int64_t at = tile.row * args.n + tile.column;
    float accumulators[kChainColumns] = {};
    for (std::int64_t c = 0; args.c != nullptr && c < tile.columns; ++c) {
      accumulators[c] =
          half ? widen(static_cast<const fp16*>(args.c)[at + c]) : static_cast<const float*>(args.c)[at + c];
    }
    tile.run(0, args.k, accumulators);
    for (std::int64_t c = 0; c < tile.columns; ++c) {
      if (half) {
        static_cast<fp16*>(args.out)[at + c] = is_nan(accumulators[c]) ? mma_nan<fp16>() : rn16(accumulators[c]);
      } else {
        static_cast<float*>(args.out)[at + c] = accumulators[c];
      }
    }
  });
}

}  // namespace fp8ref::cpu
