// SPDX-License-Identifier: Apache-2.0
// scaled_mm over arrays (spec/scaled_mm.md). `exact`: float64 sums, exact in any order over spans of K that are short
// enough, spans added as integers. Tensor cores: the chains of mma.cpp.
#include "fp8ref/scaled_mm.h"

#include <algorithm>
#include <vector>

#include "chains.h"
#include "fp8ref/cpu.h"
#include "fpenv.h"
#include "scaled_mm.h"

namespace fp8ref::cpu {
namespace {

/// A product is an integer below 2^35.62 times 2^-18, so a float64 sum of this many is exact in any order [MM-EXACT].
constexpr std::int64_t kSpan = 171196;
static_assert(kSpan * (448LL << 9) * (448LL << 9) <= 1LL << 53);

constexpr double kIntegerScale = kDecodedScale * 0x1p18;  // from decoded products to integers

template <Epilogue epilogue>
void scale_row(float a_scale, const float* b_scale, const float* bias, std::int64_t columns, float* values) {
  for (std::int64_t c = 0; c < columns; ++c) {
    values[c] = scaled_mm_epilogue(values[c], a_scale, b_scale[c], bias == nullptr ? nullptr : bias + c, epilogue);
  }
}

/// One row of a: codes of b are decoded in registers, each used once.
void exact_single_row(const ScaledMmArgs& args, bool a_nan) {
  constexpr std::int64_t kColumns = 64;
  const Kernels& kernel = kernels();
  std::vector<double> x(static_cast<std::size_t>(args.k));
  kernel.decode_e4m3(a_codes(args), args.k, x.data());
  parallel_for(args.n, kWorkPerTask / (args.k + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    float accumulators[kColumns];
    for (std::int64_t j = begin; j < end; j += kColumns) {
      const std::int64_t columns = std::min(kColumns, end - j);
      for (std::int64_t c = 0; c < columns; ++c) {
        const e4m3* row = b_codes(args) + (j + c) * args.k;
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
  const std::uint8_t *rows = a_nan.data() + block.row, *columns = b_nan.data() + block.column;
  const bool any = std::find(rows, rows + block.rows, 1) != rows + block.rows ||
                   std::find(columns, columns + block.columns, 1) != columns + block.columns;
  for (std::int64_t i = 0; i < block.rows; ++i) {
    for (std::int64_t j = 0; j < block.columns; ++j) accumulators[j] = accumulator(i, j);
    for (std::int64_t j = 0; any && j < block.columns; ++j) {
      if ((rows[i] | columns[j]) != 0) accumulators[j] = bit_cast<float>(kNan32);
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
  const std::vector<std::uint8_t> a_nan = nan_rows(a_codes(args), args.m, args.k);
  if (args.m == 1 && args.k <= kSpan) return exact_single_row(args, a_nan[0] != 0);
  const std::vector<std::uint8_t> b_nan = nan_rows(b_codes(args), args.n, args.k);
  if (args.k > kSpan) return exact_spans(args, a_nan, b_nan);
  dot_blocks(a_rows(args), b_rows(args), args.m, args.n, {0, args.k, args.k}, [&](const DotBlock& block, auto) {
    finish_block(args, block, a_nan, b_nan, [&](std::int64_t i, std::int64_t j) {
      return static_cast<float>(block.dots[i * kBlockColumns + j] * kDecodedScale + 0.0);
    });
  });
}

MmaArgs chain_arguments(const ScaledMmArgs& args) {
  return {args.a, args.b,  args.a_type,     args.b_type,       args.m, args.n,
          args.k, nullptr, args.accumulate, OutDtype::float32, nullptr};
}

void tensor_core_values(const ScaledMmArgs& args) {
  chain_tiles(chain_arguments(args), [&](const ChainTile& tile) {
    float accumulators[kChainColumns];
    accumulate_tile(tile, args.k, args.accumulate, args.split_k, accumulators);
    finish_row(args, tile.row, tile.column, tile.columns, accumulators);
  });
}

void tensor_core_blocks(const ScaledMmArgs& args) {
  chain_tiles(chain_arguments(args), [&](const ChainTile& tile) {
    float sums[kChainColumns] = {};
    for (std::int64_t p = 0; p < args.k; p += kScaleBlock) {
      float dots[kChainColumns] = {};
      tile.run(p, std::min(p + kScaleBlock, args.k), dots);
      add_block_row(args, tile.row, tile.column, tile.columns, p / kScaleBlock, dots, sums);
    }
    finish_block_row(args, tile.row, tile.column, tile.columns, sums);
  });
}

}  // namespace

void finish_row(const ScaledMmArgs& args, std::int64_t i, std::int64_t j, std::int64_t columns, float* accumulators) {
  const float a_scale = *args.a_scale.of_row(i);
  const float* bias = args.bias == nullptr ? nullptr : args.bias + j;
  float b_scale[kBlockColumns];
  for (std::int64_t c = 0; c < columns; ++c) b_scale[c] = args.b_scale.data[(j + c) * args.b_scale.stride];
  if (args.epilogue == Epilogue::a_b) {
    scale_row<Epilogue::a_b>(a_scale, b_scale, bias, columns, accumulators);
  } else if (args.epilogue == Epilogue::b_a) {
    scale_row<Epilogue::b_a>(a_scale, b_scale, bias, columns, accumulators);
  } else {
    scale_row<Epilogue::ab>(a_scale, b_scale, bias, columns, accumulators);
  }
  store_row(args, i, j, columns, accumulators);
}

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
  const bool exactly = args.accumulate == Accumulate::exact, blocks = args.scales == Scales::blocks;
  if (blocks && !ordered_blocks(args)) return exact_blocks(args);
  if (exactly && has_e5m2(args)) return exact_e5m2(args);
  if (!blocks) return exactly ? exact(args) : tensor_core_values(args);
  return exactly ? exact_dots_of_blocks(args) : tensor_core_blocks(args);
}

}  // namespace fp8ref::cpu
