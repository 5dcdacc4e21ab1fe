// SPDX-License-Identifier: Apache-2.0
// The chain kernels in plain C++: loops over 8 outputs that compilers turn into what vectors the machine has.
#include "chain_kernels.h"

namespace fp8ref::cpu {
namespace {

double power_of_two(int exponent) { return bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52); }

std::int32_t exponent_of(const NarrowRow& a, const NarrowTile& b, int k, int column) {
  return std::max<std::int32_t>(a.exponent[k] + b.exponent[k / 4][column][k % 4], kNarrowZero);
}
std::int32_t exponent_of(const WideRow& a, const WideTile& b, int k, int column) {
  return a.exponent[k] + b.exponent[k][column];
}

/// 2^shift, or 0 where that makes a term 0 anyway.
float power_of_two32(std::int32_t shift) { return bit_cast<float>(std::max<std::int32_t>(shift + 127, 0) << 23); }

/// What brings product k to the grid of the sum: a narrow value has its exponent in itself.
float term_scale(const NarrowRow&, const NarrowTile&, int, int, std::int32_t to_grid) {
  return power_of_two32(to_grid);
}
float term_scale(const WideRow& a, const WideTile& b, int k, int column, std::int32_t to_grid) {
  return power_of_two32(exponent_of(a, b, k, column) + to_grid);
}

/// The accumulator type of a core, of which fp32 numbers hold the values.
template <TensorCore core>
float result(std::int64_t sum, int exponent) {
  if constexpr (core.result == Conversion::fp16) {
    return widen(tensor_core_result<fp16>(core, sum, exponent));
  } else {
    return tensor_core_result<float>(core, sum, exponent);
  }
}

/// The exponent that an accumulator brings into its step.
template <TensorCore core>
std::int32_t own_exponent(float accumulator) {
  constexpr int kLowest = core.result == Conversion::fp16 ? -14 : -126;
  const auto field = static_cast<std::int32_t>((bit_cast<std::uint32_t>(accumulator) >> 23) & 255);
  return accumulator == 0 ? core.floor : std::max<std::int32_t>(field - 127, kLowest);
}

/// One step for 8 columns [MMA-STEP]: the cut of a term is that of its value, scaled, to an integer. Terms are below
/// 2^(F + 2): sums of every second one fit 32 bits, with F = 25 because products of FP8 are at most 3.52.
template <TensorCore core, class Row, class Tile>
void step(const Row& a, const Tile& b, int first, float* accumulators) {
  constexpr int kFloor = std::max(core.floor, std::is_same_v<Row, NarrowRow> ? kNarrowFloor : core.floor);
  std::int32_t top[kChainColumns], sums[2][kChainColumns] = {};
  for (int c = 0; c < kChainColumns; ++c) top[c] = std::max<std::int32_t>(own_exponent<core>(accumulators[c]), kFloor);
  for (int k = first; k < first + core.block; ++k) {
    for (int c = 0; c < kChainColumns; ++c) top[c] = std::max(top[c], exponent_of(a, b, k, c));
  }
  for (int k = first; k < first + core.block; ++k) {
    for (int c = 0; c < kChainColumns; ++c) {
      const float scale = term_scale(a, b, k, c, core.fraction_bits - top[c]);
      sums[k % 2][c] += static_cast<std::int32_t>(a.value[k] * b.value[k][c] * scale);
    }
  }
  for (int c = 0; c < kChainColumns; ++c) {
    if (is_inf(accumulators[c])) continue;  // overflowed in an earlier step
    const auto own = static_cast<std::int64_t>(accumulators[c] * power_of_two(core.fraction_bits - top[c]));
    accumulators[c] = result<core>(own + sums[0][c] + sums[1][c], top[c]);
  }
}

template <TensorCore core, class Row, class Tile>
void chain(const Row* a, const Tile* b, std::int64_t steps, float* accumulators) {
  for (std::int64_t i = 0; i < steps; ++i) {
    if constexpr (core.order == Order::chain) {
      for (int k = 0; k < kChainDepth; k += core.block) step<core>(a[i], b[i], k, accumulators);
    } else {
      float parts[kChainColumns] = {};
      for (int k = 0; k < kChainDepth; k += core.block) step<core>(a[i], b[i], k, parts);
      for (int c = 0; c < kChainColumns; ++c) {
        const float sum = parts[c] + accumulators[c];
        // The sum of two fp16 numbers rounded to fp32 and then to fp16 is rounded once: 24 >= 2 * 11 + 2 bits.
        accumulators[c] = core.result == Conversion::fp16 ? widen(rn16(sum)) : sum;
      }
    }
  }
}

void pack_e4m3(const e4m3* const* rows, NarrowTile* tile) {
  for (int column = 0; column < kChainColumns; ++column) {
    for (int k = 0; k < kChainDepth; ++k) {
      tile->value[k][column] = narrow_value(rows[column][k]);
      tile->exponent[k / 4][column][k % 4] = narrow_exponent(rows[column][k]);
    }
  }
}

template <std::size_t index>
constexpr WideChain wide_chain() {
  if constexpr (may_be_wide(kCores[index])) return chain<kCores[index], WideRow, WideTile>;
  return nullptr;
}

template <std::size_t... index>
constexpr ChainKernels table(std::index_sequence<index...>) {
  return {{chain<kCores[index], NarrowRow, NarrowTile>...}, {wide_chain<index>()...}, pack_e4m3};
}

}  // namespace

const ChainKernels& portable_chains() {
  static constexpr ChainKernels kernels = table(std::make_index_sequence<kCoreCount>());
  return kernels;
}

}  // namespace fp8ref::cpu
