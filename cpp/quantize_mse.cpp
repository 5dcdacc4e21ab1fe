// SPDX-License-Identifier: Apache-2.0
// llm-compressor's observer "mse" [QUANT-MSE]: of 20 shrunken ranges the one whose error is least.
#include <mutex>
#include <vector>

#include "fp8ref/mse.h"
#include "quantize_loops.h"

namespace fp8ref::cpu {
namespace {

constexpr std::int64_t kPiece = 256;  // codes that are kept only for their errors

/// The errors of n elements with a scale.
template <class T>
MseSum errors(Encoder<T> encode, const T* x, std::int64_t n, float scale) {
  MseSum sum;
  e4m3 codes[kPiece];
  for (std::int64_t start = 0; start < n; start += kPiece) {
    const std::int64_t count = std::min(kPiece, n - start);
    encode(x + start, count, scale, codes);
    for (std::int64_t i = 0; i < count; ++i) sum.add(mse_error<T>(widen(x[start + i]), codes[i], scale));
  }
  return sum;
}

/// The state of one scale's search.
struct Candidate {
  float amax, best, least;
};

/// Searches for the scales of `count` equal runs of `n` elements. Ties keep the larger range. The search ends for all
/// of them when for some steps none has improved.
template <class T>
class MseSearch {
 public:
  MseSearch(const T* x, std::int64_t count, std::int64_t n, const Rule& rule)
      : x_(x), n_(n), rule_(rule), encode_(encoder_of<T>(rule)), candidates_(static_cast<std::size_t>(count)) {
    for (std::int64_t i = 0; i < count; ++i) {
      const float amax = tensor_amax(rule.amax_nan, x + i * n, n);
      candidates_[static_cast<std::size_t>(i)] = {amax, amax, largest<T>()};
    }
    for (int step = 0, idle = 0; step < kMseSteps && idle < kMsePatience; ++step) {
      idle = improves(step) ? 0 : idle + 1;
    }
  }

  float scale(std::int64_t i) const { return scale_of(candidates_[static_cast<std::size_t>(i)].best); }

 private:
  float scale_of(float amax) const { return factors_of_amax<T>(rule_, amax, 0).scale; }

  /// Tries one range for every scale; whether any error became less.
  bool improves(int step) {
    std::atomic<bool> improved{false};
    const auto count = static_cast<std::int64_t>(candidates_.size());
    auto attempt = [&](std::int64_t i, auto sum_of) {
      Candidate& candidate = candidates_[static_cast<std::size_t>(i)];
      const float range = mse_range<T>(candidate.amax, step);
      const float error = sum_of(x_ + i * n_, scale_of(range)).template rounded<T>();
      if (!(error < candidate.least)) return;
      candidate.least = error;
      candidate.best = range;
      improved = true;
    };
    if (count == 1) {
      attempt(0, [&](const T* x, float scale) { return parallel_errors(x, scale); });
    } else {
      parallel_for(count, kGrain / (n_ + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          attempt(i, [&](const T* x, float scale) { return errors(encode_, x, n_, scale); });
        }
      });
    }
    return improved;
  }

  /// The same over all threads; sums are exact, so their order does not matter.
  MseSum parallel_errors(const T* x, float scale) const {
    MseSum total;
    std::mutex lock;
    parallel_for(n_, kGrain, [&](std::int64_t begin, std::int64_t end) {
      const MseSum mine = errors(encode_, x + begin, end - begin, scale);
      const std::lock_guard<std::mutex> guard(lock);
      total.add(mine);
    });
    return total;
  }

  static constexpr std::int64_t kGrain = 1 << 12;
  const T* x_;
  std::int64_t n_;
  const Rule& rule_;
  Encoder<T> encode_;
  std::vector<Candidate> candidates_;
};

}  // namespace

template <class T>
void quantize_mse(const T* x, std::int64_t rows, std::int64_t cols, const Rule& rule, e4m3* codes, float* scale) {
  const bool per_row = rule.granularity == Granularity::row;
  const std::int64_t count = per_row ? rows : 1, n = per_row ? cols : rows * cols;
  const MseSearch<T> search(x, count, n, rule);
  for (std::int64_t i = 0; i < count; ++i) {
    scale[i] = search.scale(i);
    encode_all(encoder_of<T>(rule), x + i * n, n, scale[i], codes + i * n);
  }
}

template void quantize_mse<float>(const float*, std::int64_t, std::int64_t, const Rule&, e4m3*, float*);
template void quantize_mse<bf16>(const bf16*, std::int64_t, std::int64_t, const Rule&, e4m3*, float*);
template void quantize_mse<fp16>(const fp16*, std::int64_t, std::int64_t, const Rule&, e4m3*, float*);

}  // namespace fp8ref::cpu
