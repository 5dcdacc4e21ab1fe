// SPDX-License-Identifier: Apache-2.0
// Tiles of 64 x 8 outputs as an instruction computes them: operands, accumulators, and what each output must be.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "probe_model.h"
#include "probe_table.h"

namespace probes {

inline constexpr int kRows = 64, kColumns = 8, kOutputs = kRows * kColumns;

/// a is [tile][step][64][32 bytes], b is [tile][step][8][32 bytes], c and the results are [tile][64][8].
struct Batch {
  Instruction instruction;
  Plan plan;
  int tiles;
  std::vector<std::uint8_t> a, b;
  std::vector<std::uint32_t> c;

  Batch(const Instruction& instruction, const Plan& plan, int tiles)
      : instruction(instruction),
        plan(plan),
        tiles(tiles),
        a(static_cast<std::size_t>(tiles) * plan.steps * kRows * kRowBytes),
        b(static_cast<std::size_t>(tiles) * plan.steps * kColumns * kRowBytes),
        c(static_cast<std::size_t>(tiles) * kOutputs) {}

  std::uint8_t* a_row(int tile, int step, int row) {
    return &a[((static_cast<std::size_t>(tile) * plan.steps + step) * kRows + row) * kRowBytes];
  }
  std::uint8_t* b_row(int tile, int step, int column) {
    return &b[((static_cast<std::size_t>(tile) * plan.steps + step) * kColumns + column) * kRowBytes];
  }

  /// The operands of one output, step after step.
  std::vector<std::uint8_t> gathered_a(int tile, int row) const { return gathered(a, kRows, tile, row); }
  std::vector<std::uint8_t> gathered_b(int tile, int column) const { return gathered(b, kColumns, tile, column); }

 private:
  std::vector<std::uint8_t> gathered(const std::vector<std::uint8_t>& from, int rows, int tile, int row) const {
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(plan.steps) * kRowBytes);
    for (int step = 0; step < plan.steps; ++step) {
      const std::size_t at = ((static_cast<std::size_t>(tile) * plan.steps + step) * rows + row) * kRowBytes;
      std::memcpy(&bytes[static_cast<std::size_t>(step) * kRowBytes], &from[at], kRowBytes);
    }
    return bytes;
  }
};

/// Runs a batch: the GPU, or a stand-in that is the model with other numbers.
using Machine = std::function<std::vector<std::uint32_t>(const Batch&)>;

/// work(i) for all i < count, on all cores.
inline void in_parallel(int count, const std::function<void(int)>& work) {
  std::atomic<int> next{0};
  std::vector<std::thread> threads;
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  for (unsigned t = 0; t < cores; ++t) {
    threads.emplace_back([&] {
      for (int i = next++; i < count; i = next++) work(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

/// The model on every output of a batch.
inline std::vector<std::uint32_t> predict(const TensorCore& core, const Batch& batch) {
  std::vector<std::uint32_t> results(batch.c.size());
  in_parallel(batch.tiles, [&](int tile) {
    std::vector<std::vector<std::uint8_t>> columns;
    for (int column = 0; column < kColumns; ++column) columns.push_back(batch.gathered_b(tile, column));
    for (int row = 0; row < kRows; ++row) {
      const std::vector<std::uint8_t> left = batch.gathered_a(tile, row);
      for (int column = 0; column < kColumns; ++column) {
        const std::size_t at = static_cast<std::size_t>(tile) * kOutputs + row * kColumns + column;
        results[at] = predict(core, batch.instruction, batch.plan, left.data(), columns[column].data(), batch.c[at]);
      }
    }
  });
  return results;
}

// ---- cases ----------------------------------------------------------------------------------------------------------
inline void put(const Case& one, bool left, int step, std::uint8_t* row) {
  const int size = class_of(one.operand) == OperandClass::fp8 ? 1 : 2;
  const int depth = kRowBytes / size;
  for (const Term& term : one.terms) {
    const std::uint32_t pattern = left ? term.a : term.b;
    if (term.k / depth == step) std::memcpy(row + term.k % depth * size, &pattern, static_cast<std::size_t>(size));
  }
}

/// Cases of one plan, eight in a tile: case i of it lies in column i, and in rows i, i + 8, ... (so 8 times).
inline Batch pack(const Instruction& instruction, const std::vector<const Case*>& cases) {
  const int tiles = static_cast<int>((cases.size() + kColumns - 1) / kColumns);
  Batch batch(instruction, cases.front()->plan, tiles);
  in_parallel(static_cast<int>(cases.size()), [&](int i) {
    const int tile = i / kColumns, column = i % kColumns;
    const Case& one = *cases[static_cast<std::size_t>(i)];
    for (int step = 0; step < batch.plan.steps; ++step) {
      put(one, false, step, batch.b_row(tile, step, column));
      put(one, true, step, batch.a_row(tile, step, column));
      for (int row = column + kColumns; row < kRows; row += kColumns) {
        std::memcpy(batch.a_row(tile, step, row), batch.a_row(tile, step, column), kRowBytes);
      }
    }
    for (int row = 0; row < kRows; ++row) {
      batch.c[static_cast<std::size_t>(tile) * kOutputs + row * kColumns + column] = one.c;
    }
  });
  return batch;
}

/// The 8 copies of case i among the results of its batch.
inline std::vector<std::uint32_t> copies(const std::vector<std::uint32_t>& results, int i) {
  std::vector<std::uint32_t> found;
  const std::size_t tile = static_cast<std::size_t>(i / kColumns) * kOutputs;
  for (int row = i % kColumns; row < kRows; row += kColumns) {
    found.push_back(results[tile + static_cast<std::size_t>(row) * kColumns + i % kColumns]);
  }
  return found;
}

/// What the model says about one case.
inline std::uint32_t predict(const TensorCore& core, const Instruction& instruction, const Case& one) {
  Batch batch(instruction, one.plan, 1);
  for (int step = 0; step < one.plan.steps; ++step) {
    put(one, true, step, batch.a_row(0, step, 0));
    put(one, false, step, batch.b_row(0, step, 0));
  }
  return predict(core, instruction, one.plan, batch.gathered_a(0, 0).data(), batch.gathered_b(0, 0).data(), one.c);
}

}  // namespace probes
