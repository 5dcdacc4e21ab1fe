// SPDX-License-Identifier: Apache-2.0
// Exact sums of products of E4M3 codes, and their way to an output. A product is an integer times 2^-18, below 2^36, so
// int64 holds the sums of 2^27 products; fp64 holds those of kSpan products in any order [MM-EXACT]. Internal.
#pragma once

#include <cstdint>

#include "cuda/exact.h"
#include "cuda/launch.h"
#include "cuda/scaled_mm.h"
#include "cuda/workspace.h"

namespace fp8ref::cuda {

inline constexpr double kProductScale = 0x1p18;  // makes a product an integer
static_assert(kSpan * (448LL << 9) * (448LL << 9) <= 1LL << 53);
static_assert(kMostDepth * ((448.0 * 512) * (448.0 * 512)) < 0x1p63);

/// A sum as an integer, or this where a NaN code takes part [MM-NAN]; the integers are far from it.
inline constexpr std::int64_t kNanSum = std::int64_t{-1} << 63;

FP8REF_HD std::int64_t add_sums(std::int64_t x, std::int64_t y) {
  return x == kNanSum || y == kNanSum ? kNanSum : x + y;
}

/// RN32 of a sum: one rounding, then a power of two.
FP8REF_HD float accumulator_of(std::int64_t sum) {
  return sum == kNanSum ? bit_cast<float>(kNan32) : mul32(static_cast<float>(sum), 0x1p-18f);
}

/// The part of k that one launch sums: `totals` (m, n) has the sums of those before it, where it is not the only one.
struct Span {
  std::int64_t first, depth;
  std::int64_t* totals;
};

/// run(span) for the spans of k, in order, each of at most `most`.
template <class Run>
void for_spans(const GroupedMmArgs& args, std::int64_t most, Stream stream, const Run& run) {
  const std::int64_t k = args.all.k;
  if (k <= most) return run(Span{0, k, nullptr});
  const Workspace<std::int64_t> totals("scaled_mm", args.all.m * args.all.n, stream);
  for (std::int64_t first = 0; first < k; first += most) {
    run(Span{first, k - first < most ? k - first : most, totals.get()});
  }
}

/// The sum of row i, column j of an expert over a span: to the totals, or on to the output.
__device__ inline void finish_sum(const GroupedMmArgs& args, const Span& span, std::int64_t expert, std::int64_t i,
                                  std::int64_t j, std::int64_t sum) {
  if (span.totals != nullptr) {
    std::int64_t& total = span.totals[i * args.all.n + j];
    if (span.first > 0) sum = add_sums(total, sum);
    if (span.first + span.depth < args.all.k) {
      total = sum;
      return;
    }
  }
  finish_output(args, expert, i, j, accumulator_of(sum));
}

/// Not 0 if one of four codes is a NaN: then its 7 bits, plus 1, reach its sign.
FP8REF_HD std::uint32_t nan_codes(std::uint32_t four) { return ((four & 0x7F7F7F7F) + 0x01010101) & 0x80808080; }

}  // namespace fp8ref::cuda
