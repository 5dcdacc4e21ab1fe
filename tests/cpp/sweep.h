// SPDX-License-Identifier: Apache-2.0
// Walking over all fp32 patterns in all threads, and what a walk found.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

#include "fp8ref/platform.h"
#include "mpfr.h"

namespace fp8ref::test {

inline float float_of(std::uint32_t bits) { return bit_cast<float>(bits); }
inline std::uint32_t bits_of(float x) { return bit_cast<std::uint32_t>(x); }

/// Patterns first .. last, both included, of one sign.
struct Range {
  std::uint32_t first, last;
};

/// Whether differences are shown: those of seeded defects are not.
inline std::atomic<bool> loud{true};

/// What was looked at, and how often a function differed from the real one's rounding.
struct Tally {
  std::int64_t inputs = 0, differ = 0;

  /// The inputs so far, and one that must hold; the first few that do not are shown.
  void see(bool held, const char* name, std::uint32_t bits) {
    if (!held && ++differ <= 3 && loud) std::fprintf(stderr, "%s differs at 0x%08X (%a)\n", name, bits, float_of(bits));
  }
  void add(const Tally& other) {
    inputs += other.inputs;
    differ += other.differ;
  }
};

/// Runs work(Range, Tally&) over pieces of a range in all threads and adds up what they found.
template <class Work>
Tally in_pieces(Range range, std::uint32_t piece, const Work& work) {
  const std::uint64_t count = std::uint64_t{range.last} - range.first + 1;
  const std::uint64_t pieces = (count + piece - 1) / piece;
  std::atomic<std::uint64_t> next{0};
  const unsigned threads = std::max(1u, std::thread::hardware_concurrency());
  std::vector<Tally> found(threads);
  std::vector<std::thread> pool;
  for (unsigned t = 0; t < threads; ++t) {
    pool.emplace_back([&, t] {
      for (std::uint64_t i = next++; i < pieces; i = next++) {
        const std::uint64_t first = range.first + i * piece;
        const std::uint64_t last = std::min<std::uint64_t>(first + piece - 1, range.last);
        work(Range{static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(last)}, found[t]);
      }
      mpfr_free_cache();
    });
  }
  for (std::thread& thread : pool) thread.join();
  Tally total;
  for (const Tally& part : found) total.add(part);
  return total;
}

/// A function whose real counterpart grows (or falls) with the pattern has the right value everywhere between two
/// inputs where it has one and the same right value. So where the result changes from an input to the next, both are
/// compared with MPFR, and the ends of the range; everything else needs no more than to be equal to its neighbour.
/// result(bits) is any value with ==; right(bits, result) asks MPFR.
template <class Result, class Right>
Tally sweep_steps(const char* name, Range range, const Result& result, const Right& right) {
  return in_pieces(range, 1 << 22, [&](Range part, Tally& tally) {
    auto before = result(part.first);
    tally.see(right(part.first, before), name, part.first);
    bool seen = true;  // the input of `before` has been compared with MPFR
    for (std::uint32_t bits = part.first; bits != part.last; ++bits) {
      const auto after = result(bits + 1);
      const bool step = !(after == before);
      if (step) {
        if (!seen) tally.see(right(bits, before), name, bits);
        tally.see(right(bits + 1, after), name, bits + 1);
        before = after;
      }
      seen = step;
    }
    tally.see(right(part.last, before), name, part.last);
    tally.inputs += std::int64_t{part.last} - part.first + 1;
  });
}

/// A sample against MPFR: every stride-th input, and numbers of few bits with their neighbours, where ties are.
template <class Result, class Right>
Tally sweep_sample(const char* name, Range range, std::uint32_t stride, const Result& result, const Right& right) {
  constexpr std::uint32_t kFewBits = 1 << 19;
  Tally total;
  for (const std::uint32_t step : {stride, kFewBits}) {
    total.add(in_pieces(range, step << 8, [&](Range part, Tally& tally) {
      for (std::uint64_t place = part.first; place <= part.last; place += step) {
        for (int beside = -1; beside <= 1; ++beside) {
          const auto bits = static_cast<std::uint32_t>(static_cast<std::int64_t>(place) + beside);
          if (bits < range.first || bits > range.last) continue;
          tally.see(right(bits, result(bits)), name, bits);
          ++tally.inputs;
        }
      }
    }));
  }
  return total;
}

}  // namespace fp8ref::test
