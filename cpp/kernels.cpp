// SPDX-License-Identifier: Apache-2.0
// The portable kernels, and the choice among instruction sets.
#include "kernels.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <string>

#include "chain_kernels.h"
#include "fp8ref/attention.h"
#include "fp8ref/e4m3.h"
#include "fp8ref/errors.h"
#include "fp8ref/round.h"

namespace fp8ref::cpu {
namespace {

constexpr int kLanes = 4;  // independent sums, so that the additions overlap

double value(e4m3 code) { return e4m3_fixed(code) * 0x1p-17; }  // 2^-9, and 2^kE4m3Exponent
double value(bf16 x) { return widen(x); }

template <class T>
void decode_array(const T* codes, std::int64_t n, double* x) {
  for (std::int64_t i = 0; i < n; ++i) x[i] = value(codes[i]);
}

template <class T>
double dot(const double* x, const T* w, std::int64_t n) {
  double sums[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += x[i + lane] * value(w[i + lane]);
  }
  for (; i < n; ++i) sums[0] += x[i] * value(w[i]);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

bool has_nan(const e4m3* codes, std::int64_t n) {
  int found = 0;
  for (std::int64_t i = 0; i < n; ++i) found |= is_nan(codes[i]);
  return found != 0;
}

void tile(const double* a, std::int64_t lda, const double* b, std::int64_t ldb, std::int64_t k, double* c,
          std::int64_t ldc) {
  for (int i = 0; i < kTileRows; ++i) {
    for (int j = 0; j < kTileColumns; ++j) {
      const double* x = a + i * lda;
      const double* y = b + j * ldb;
      double sums[kLanes] = {};
      for (std::int64_t p = 0; p < k; p += kLanes) {
        for (int lane = 0; lane < kLanes; ++lane) sums[lane] += x[p + lane] * y[p + lane];
      }
      c[i * ldc + j] += (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
  }
}

void outer(const double* a, std::int64_t lda, const double* b, std::int64_t ldb, std::int64_t k, double* c,
           std::int64_t ldc) {
  for (int i = 0; i < kOuterRows; ++i) {
    double sums[kOuterColumns] = {};
    for (std::int64_t p = 0; p < k; ++p) {
      for (int j = 0; j < kOuterColumns; ++j) sums[j] += a[i * lda + p] * b[p * ldb + j];
    }
    for (int j = 0; j < kOuterColumns; ++j) c[i * ldc + j] += sums[j];
  }
}

const Kernels* find(std::string_view name) {
  if (name == portable_kernels().name) return &portable_kernels();
  const Kernels* avx2 = avx2_kernels();
  return avx2 != nullptr && name == avx2->name ? avx2 : nullptr;
}

const Kernels* initial() {
  const char* wanted = std::getenv("FP8REF_ISA");
  const Kernels* named = wanted != nullptr ? find(wanted) : nullptr;
  if (named != nullptr) return named;
  const Kernels* avx2 = avx2_kernels();
  return avx2 != nullptr ? avx2 : &portable_kernels();
}

std::atomic<const Kernels*>& chosen() {
  static std::atomic<const Kernels*> kernels{initial()};
  return kernels;
}

}  // namespace

const Kernels& portable_kernels() {
  static const Kernels table{"portable", decode_array<e4m3>, decode_array<bf16>,         has_nan, dot<e4m3>, dot<bf16>,
                             tile,       &portable_chains(), portable_attention_weights, outer};
  return table;
}

bool portable_attention_weights(const double* dots, double error, const double* bounds, float c, std::int64_t n,
                                float* exponent, std::uint8_t* significand) {
  bool proven = true;
  for (std::int64_t j = 0; j < n; ++j) {
    const CertifiedWeight weight = attention_weight_within(dots[j], error * bounds[j], c);
    exponent[j] = weight.proven ? weight.value.exponent : NAN;
    significand[j] = static_cast<std::uint8_t>(weight.value.significand);
    proven = proven && weight.proven;
  }
  return proven;
}

const Kernels& kernels() { return *chosen().load(std::memory_order_relaxed); }

void set_isa(std::string_view name) {
  const Kernels* named = find(name);
  if (named == nullptr) throw OpError("instruction set '" + std::string(name) + "' is unknown, or not on this machine");
  chosen().store(named);
}

}  // namespace fp8ref::cpu
