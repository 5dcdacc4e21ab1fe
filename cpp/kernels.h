// SPDX-License-Identifier: Apache-2.0
// The inner loops that have a version per instruction set, chosen once at run time. Internal.
// Every kernel returns the same results on every instruction set, or (float64 dots of bf16) results whose difference
// the caller's certificate covers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>

#include "fp8ref/platform.h"

namespace fp8ref::cpu {

/// decode_e4m3 gives the values times 2^kE4m3Exponent (a shift turns a code into the fp16 of that number).
inline constexpr int kE4m3Exponent = -8;

/// The tile of the blocked float64 products, and what rows of its operands are padded to.
inline constexpr int kTileRows = 4, kTileColumns = 3, kPadding = 4;

/// The tile of the products of attention weights with values.
inline constexpr int kOuterRows = 4, kOuterColumns = 12;

struct ChainKernels;  // chain_kernels.h

struct Kernels {
  std::string_view name;
  /// Values of finite codes, scaled; NaN codes give some finite number.
  void (*decode_e4m3)(const e4m3* codes, std::int64_t n, double* x);
  void (*decode_bf16)(const bf16* values, std::int64_t n, double* x);
  bool (*has_nan)(const e4m3* codes, std::int64_t n);
  /// Dot products in float64, in any order; x as decoded.
  double (*dot_e4m3)(const double* x, const e4m3* w, std::int64_t n);
  double (*dot_bf16)(const double* x, const bf16* w, std::int64_t n);
  /// c[i][j] += a[i] . b[j] for a tile of kTileRows x kTileColumns; k is a multiple of kPadding.
  void (*tile)(const double* a, std::int64_t lda, const double* b, std::int64_t ldb, std::int64_t k, double* c,
               std::int64_t ldc);
  /// Tensor-core chains.
  const ChainKernels* chains;
  /// Attention weights (fp8ref/attention.h) of n keys for float64 dots that are within error * bounds[j] / 2. Returns
  /// false if some weight is not proven; its exponent is NaN then.
  bool (*attention_weights)(const double* dots, double error, const double* bounds, float c, std::int64_t n,
                            float* exponent, std::uint8_t* significand);
  /// c[i][j] += sum over p < k of a[i][p] * b[p][j] for a tile of kOuterRows x kOuterColumns.
  void (*outer)(const double* a, std::int64_t lda, const double* b, std::int64_t ldb, std::int64_t k, double* c,
                std::int64_t ldc);
};

/// The kernels in use: the best that the machine has, unless FP8REF_ISA (portable, avx2) or set_isa say otherwise.
const Kernels& kernels();
/// For tests. Throws OpError if the machine lacks it. Not to be called while an operation runs.
void set_isa(std::string_view name);

const Kernels& portable_kernels();
bool portable_attention_weights(const double* dots, double error, const double* bounds, float c, std::int64_t n,
                                float* exponent, std::uint8_t* significand);
/// nullptr where the compiler or the machine lacks AVX2, FMA and F16C.
const Kernels* avx2_kernels();
bool avx2_attention_weights(const double* dots, double error, const double* bounds, float c, std::int64_t n,
                            float* exponent, std::uint8_t* significand);
void avx2_outer(const double* a, std::int64_t lda, const double* b, std::int64_t ldb, std::int64_t k, double* c,
                std::int64_t ldc);

/// Storage aligned for vector loads, not initialised, grown as needed.
template <class T>
class Buffer {
 public:
  T* get(std::size_t count) {
    if (count > size_) {
      size_ = 0;
      data_.reset();  // before the new allocation, to hold one at a time
      data_.reset(static_cast<T*>(::operator new(count * sizeof(T), kAlignment)));
      size_ = count;
    }
    return data_.get();
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(T* p) const { ::operator delete(p, kAlignment); }
  };
  std::unique_ptr<T, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace fp8ref::cpu
