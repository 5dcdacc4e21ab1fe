// SPDX-License-Identifier: Apache-2.0
// scaled_mm over arrays (spec/scaled_mm.md). `exact`: float64 sums, exact in any order over spans of K that are short
// enough, spans added as integers. `sm90_wgmma`: chains of steps for 8 columns at a time.
#include "fp8ref/scaled_mm.h"

#include <algorithm>
#include <vector>

#include "fp8ref/cpu.h"
#include "fpenv.h"
#include "scaled_mm.h"

namespace fp8ref::cpu {
namespace {

/// A product is an integer below 2^35.62 times 2^-18, so a float64 sum of this many is exact in any order [MM-EXACT].
constexpr std::int64_t kSpan = 171196;
static_assert(kSpan * (448LL << 9) * (448LL << 9) <= 1LL << 53);

constexpr double kIntegerScale = kDecodedScale * 0x1p18;  // from decoded products to integers

/// Epilogue and output rounding for accumulators of row i, columns j and on; overwrites them.
void finish_row(const ScaledMmArgs& args, std::int64_t i, std::int64_t j, std::int64_t columns, float* accumulators) {
  const float a_scale = *args.a_scale.of_row(i);
  for (std::int64_t c = 0; c < columns; ++c) {
    const float* bias = args.bias == nullptr ? nullptr : args.bias + j + c;
    accumulators[c] = scaled_mm_epilogue(accumulators[c], a_scale, *args.b_scale.of_row(j + c), bias, args.epilogue);
  }
  store_row(args, i, j, columns, accumulators);
}

/// One row of a: codes of b are decoded in registers, each used once.
void exact_single_row(const ScaledMmArgs& args, bool a_nan) {
  constexpr std::int64_t kColumns = 64;
  const Kernels& kernel = kernels();
  std::vector<double> x(static_cast<std::size_t>(args.k));
  kernel.decode_e4m3(args.a, args.k, x.data());
  parallel_for(args.n, kWorkPerTask / (args.k + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    float accumulators[kColumns];
    for (std::int64_t j = begin; j < end; j += kColumns) {
      const std::int64_t columns = std::min(kColumns, end - j);
      for (std::int64_t c = 0; c < columns; ++c) {
        const e4m3* row = args.b + (j + c) * args.k;
        const double dot = kernel.dot_e4m3(x.data(), row, args.k) * kDecodedScale + 0.0;
        const bool nan = a_nan || kernel.has_nan(row, args.k);
        accumulators[c] = nan ? bit_cast<float>(kNan32) : static_cast<float>(dot);
      }
      finish_row(args, 0, j, columns, accumulators);
    }
  });
}

/// Results of one block from its accumulators, accumulator(i, j) counted from the block's corner.
template <class Accumulator>
void finish_block(const ScaledMmArgs& args, const DotBlock& block, const std::vector<std::uint8_t>& a_nan,
                  const std::vector<std::uint8_t>& b_nan, const Accumulator& accumulator) {
  float accumulators[kBlockColumns];
  for (std::int64_t i = 0; i < block.rows; ++i) {
    const bool row_nan = a_nan[static_cast<std::size_t>(block.row + i)] != 0;
    for (std::int64_t j = 0; j < block.columns; ++j) {
      const bool nan = row_nan || b_nan[static_cast<std::size_t>(block.column + j)] != 0;
      accumulators[j] = nan ? bit_cast<float>(kNan32) : accumulator(i, j);
    }
    finish_row(args, block.row + i, block.column, block.columns, accumulators);
  }
}

/// K beyond one span: every span's sums are integers in float64; their 128-bit totals are rounded once.
void exact_spans(const ScaledMmArgs& args, const std::vector<std::uint8_t>& a_nan,
                 const std::vector<std::uint8_t>& b_nan) {
  std::vector<Wide<2>> totals(static_cast<std::size_t>(args.m * args.n));
  for (std::int64_t first = 0; first < args.k; first += kSpan) {
    const std::int64_t depth = std::min(kSpan, args.k - first);
    const bool last = first + depth == args.k;
    dot_blocks(a_rows(args), b_rows(args), args.m, args.n, {first, depth, depth}, [&](const DotBlock& block, auto) {
      auto total = [&](std::int64_t i, std::int64_t j) -> Wide<2>& {
        return totals[static_cast<std::size_t>((block.row + i) * args.n + block.column + j)];
      };
      for (std::int64_t i = 0; i < block.rows; ++i) {
        for (std::int64_t j = 0; j < block.columns; ++j) {
          const double sum = block.dots[i * kBlockColumns + j] * kIntegerScale;
          total(i, j).add_shifted(static_cast<std::uint64_t>(sum < 0 ? -sum : sum), 0, sum < 0);
        }
      }
      if (last) {
        finish_block(args, block, a_nan, b_nan,
                     [&](std::int64_t i, std::int64_t j) { return wide_rn32(total(i, j), kProductUnit); });
      }
    });
  }
}

void exact(const ScaledMmArgs& args) {
  const std::vector<std::uint8_t> a_nan = nan_rows(args.a, args.m, args.k);
  if (args.m == 1 && args.k <= kSpan) return exact_single_row(args, a_nan[0] != 0);
  const std::vector<std::uint8_t> b_nan = nan_rows(args.b, args.n, args.k);
  if (args.k > kSpan) return exact_spans(args, a_nan, b_nan);
  dot_blocks(a_rows(args), b_rows(args), args.m, args.n, {0, args.k, args.k}, [&](const DotBlock& block, auto) {
    finish_block(args, block, a_nan, b_nan, [&](std::int64_t i, std::int64_t j) {
      return static_cast<float>(block.dots[i * kBlockColumns + j] * kDecodedScale + 0.0);
    });
  });
}

/// A row of a as steps; codes beyond k count as 0.
void pack_row(const e4m3* codes, std::int64_t k, WgmmaRow* steps) {
  for (std::int64_t p = 0; p < round_up(k, 32); ++p) {
    const e4m3 code = p < k ? codes[p] : e4m3{0};
    steps[p / 32].value[p % 32] = wgmma_value(code);
    steps[p / 32].exponent[p % 32] = wgmma_exponent(code);
  }
}

/// Rows column .. column + 7 of b as steps; rows beyond n and codes beyond k count as 0.
void pack_columns(const ScaledMmArgs& args, std::int64_t column, WgmmaTile* steps) {
  static constexpr e4m3 kZeros[32] = {};
  e4m3 tails[kWgmmaColumns][32];
  for (std::int64_t p = 0; p < args.k; p += 32) {
    const e4m3* rows[kWgmmaColumns];
    for (int c = 0; c < kWgmmaColumns; ++c) {
      const e4m3* row = args.b + (column + c) * args.k + p;
      if (column + c >= args.n) {
        rows[c] = kZeros;
      } else if (args.k - p >= 32) {
        rows[c] = row;
      } else {
        std::fill_n(std::copy_n(row, args.k - p, tails[c]), 32 - (args.k - p), e4m3{0});
        rows[c] = tails[c];
      }
    }
    kernels().wgmma_pack(rows, steps + p / 32);
  }
}

/// The accumulators of the parts of k, each a fresh chain over `depth` elements, a multiple of the steps' 32:
/// add(i, j, columns, part, chain, sum) takes them into the sums, finish(i, j, columns, sum) takes these.
template <class Add, class Finish>
void tensor_core(const ScaledMmArgs& args, std::int64_t depth, const Add& add, const Finish& finish) {
  const std::vector<std::uint8_t> a_nan = nan_rows(args.a, args.m, args.k);
  const std::vector<std::uint8_t> b_nan = nan_rows(args.b, args.n, args.k);
  const std::int64_t steps = (args.k + 31) / 32, part_steps = depth / 32;
  Buffer<WgmmaRow> storage;
  WgmmaRow* a = storage.get(static_cast<std::size_t>(args.m * steps));
  parallel_for(args.m, kWorkPerTask / (args.k + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) pack_row(args.a + i * args.k, args.k, a + i * steps);
  });
  const std::int64_t column_tiles = (args.n + kWgmmaColumns - 1) / kWgmmaColumns;
  const std::int64_t work = args.m * args.k * kWgmmaColumns;
  parallel_for(column_tiles, kWorkPerTask / (work + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    thread_local Buffer<WgmmaTile> tile_storage;
    WgmmaTile* b = tile_storage.get(static_cast<std::size_t>(steps));
    for (std::int64_t tile = begin; tile < end; ++tile) {
      const std::int64_t j = tile * kWgmmaColumns;
      const std::int64_t columns = std::min<std::int64_t>(kWgmmaColumns, args.n - j);
      pack_columns(args, j, b);
      for (std::int64_t i = 0; i < args.m; ++i) {
        float chain[kWgmmaColumns], sum[kWgmmaColumns] = {};
        for (std::int64_t step = 0; step < steps; step += part_steps) {
          kernels().wgmma_chain(a + i * steps + step, b + step, std::min(part_steps, steps - step), chain);
          add(i, j, columns, step / part_steps, chain, sum);
        }
        for (std::int64_t c = 0; c < columns; ++c) {
          if ((a_nan[static_cast<std::size_t>(i)] | b_nan[static_cast<std::size_t>(j + c)]) != 0) {
            sum[c] = bit_cast<float>(kNan32);
          }
        }
        finish(i, j, columns, sum);
      }
    }
  });
}

void tensor_core_values(const ScaledMmArgs& args) {
  auto add = [](std::int64_t, std::int64_t, std::int64_t columns, std::int64_t part, const float* chain, float* sum) {
    for (std::int64_t c = 0; c < columns; ++c) sum[c] = part == 0 ? chain[c] : sum[c] + chain[c];
  };
  tensor_core(
      args, split_depth(args.k, args.split_k), add,
      [&](std::int64_t i, std::int64_t j, std::int64_t columns, float* sum) { finish_row(args, i, j, columns, sum); });
}

void tensor_core_blocks(const ScaledMmArgs& args) {
  auto add = [&](std::int64_t i, std::int64_t j, std::int64_t columns, std::int64_t block, const float* chain,
                 float* sum) { add_block_row(args, i, j, columns, block, chain, sum); };
  tensor_core(args, kScaleBlock, add, [&](std::int64_t i, std::int64_t j, std::int64_t columns, float* sum) {
    finish_block_row(args, i, j, columns, sum);
  });
}

}  // namespace

std::vector<std::uint8_t> nan_rows(const e4m3* codes, std::int64_t rows, std::int64_t k) {
  std::vector<std::uint8_t> flags(static_cast<std::size_t>(rows));
  parallel_for(rows, 8 * kWorkPerTask / (k + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) flags[static_cast<std::size_t>(i)] = kernels().has_nan(codes + i * k, k);
  });
  return flags;
}

void add_block_row(const ScaledMmArgs& args, std::int64_t i, std::int64_t j, std::int64_t columns, std::int64_t block,
                   const float* dots, float* sums) {
  const float a_scale = args.a_scale.of_row(i)[block];
  for (std::int64_t c = 0; c < columns; ++c) {
    sums[c] = add_block(dots[c], a_scale, args.b_scale.of_row(j + c)[block], sums[c], args.epilogue);
  }
}

void finish_block_row(const ScaledMmArgs& args, std::int64_t i, std::int64_t j, std::int64_t columns, float* sums) {
  for (std::int64_t c = 0; c < columns; ++c) {
    sums[c] = add_bias(sums[c], args.bias == nullptr ? nullptr : args.bias + j + c);
  }
  store_row(args, i, j, columns, sums);
}

void scaled_mm(const ScaledMmArgs& args) {
  if (args.m == 0 || args.n == 0) return;
  const FpEnv env;
  const bool exactly = args.accumulate == Accumulate::exact;
  if (args.scales == Scales::values) return exactly ? exact(args) : tensor_core_values(args);
  const bool ordered =
      args.epilogue == Epilogue::deepgemm || args.epilogue == Epilogue::triton || args.epilogue == Epilogue::triton_ba;
  if (!ordered) return exact_blocks(args);
  return exactly ? exact_dots_of_blocks(args) : tensor_core_blocks(args);
}

}  // namespace fp8ref::cpu
