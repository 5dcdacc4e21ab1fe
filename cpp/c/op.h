// SPDX-License-Identifier: Apache-2.0
// What the functions of the C ABI share: a call that lets no exception out, and checks of arguments, which throw
// OpError with the operation and the argument's name. The checks are those of the golden model. [ABI-CHECKS] Internal.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fp8ref/fp8ref.h"
#include "fp8ref/platform.h"
#include "fpenv.h"

namespace fp8ref::c {

using Shape = std::vector<std::int64_t>;

/// A tensor whose descriptor has been checked.
struct Array {
  void* data;
  std::span<const std::int64_t> shape;
  fp8ref_dtype dtype;
  std::int64_t size;

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  std::int64_t ndim() const { return static_cast<std::int64_t>(shape.size()); }
  bool has_shape(const Shape& other) const {
    return std::equal(shape.begin(), shape.end(), other.begin(), other.end());
  }
  Shape same_shape() const { return {shape.begin(), shape.end()}; }
};

/// The name of a type of elements, as policies and messages have it.
std::string name_of(fp8ref_dtype dtype);
std::string text(std::span<const std::int64_t> shape);
std::string text(std::initializer_list<fp8ref_dtype> types);
std::string describe(const Array& array);

/// Blocks of 128 that cover so many elements.
constexpr std::int64_t blocks_of(std::int64_t size) { return (size + 127) / 128; }

/// The checks of one operation.
class Op {
 public:
  static constexpr int kAnyDimensions = -1;

  explicit Op(const char* name) : name_(name) {}

  [[noreturn]] void fail(const std::string& message) const;

  // ---- tensors ------------------------------------------------------------------------------------------------------
  Array array(const char* name, const fp8ref_tensor* tensor, std::initializer_list<fp8ref_dtype> types,
              int ndim = kAnyDimensions) const;
  Array bf16_array(const char* name, const fp8ref_tensor* tensor, int ndim = kAnyDimensions) const;
  /// FP8 codes, (..., ...) with that many dimensions.
  Array fp8_array(const char* name, const fp8ref_tensor* tensor, int ndim) const;
  /// What the caller has made for a result: exactly of that shape.
  Array output(const char* name, fp8ref_tensor* tensor, std::initializer_list<fp8ref_dtype> types,
               const Shape& shape) const;
  /// Values of int32 or int64.
  std::vector<std::int64_t> integers(const char* name, const fp8ref_tensor* tensor, int ndim = 1) const;
  /// Two bfloat16 arrays of one shape.
  std::pair<Array, Array> bf16_pair(const char* first, const fp8ref_tensor* x, const char* second,
                                    const fp8ref_tensor* y) const;

  // ---- numbers that are widened exactly -----------------------------------------------------------------------------
  /// float32 values of float32, bfloat16 or float16.
  std::vector<float> widened(const Array& array) const;
  /// The same of scales, E8M0 too, whose sign bits must be clear. [MM-SCALES]
  std::vector<float> scales(const char* name, const Array& array) const;
  /// A scale of one value: of shape (), (1,) or (1, 1).
  float scale_value(const char* name, const fp8ref_tensor* tensor) const;
  /// None for NULL.
  std::optional<std::vector<float>> bias(const fp8ref_tensor* tensor, const Shape& shape) const;
  /// A number whose rounding to float32, or itself, is positive and finite.
  void positive_float32(const char* name, double value) const;
  void positive_float64(const char* name, double value) const;

  // ---- policies -----------------------------------------------------------------------------------------------------
  std::string_view policy(const char* name, const char* value) const;
  /// An accumulator that `takes` it.
  Accumulate accumulate(const char* value, bool (*takes)(Accumulate)) const;

 private:
  const char* name_;
};

constexpr std::initializer_list<fp8ref_dtype> kScaleTypes{FP8REF_FLOAT32, FP8REF_BFLOAT16, FP8REF_FLOAT16,
                                                          FP8REF_FLOAT8_E8M0FNU};

/// One value for all.
bool is_one_value(std::span<const std::int64_t> shape);

// ---- calls ----------------------------------------------------------------------------------------------------------
void clear_error() noexcept;
/// The status of the exception that is being handled; its text becomes the thread's last error.
fp8ref_status failed(const char* name) noexcept;

/// Runs a function of the ABI in the floating-point environment of the contract. [ABI-ERRORS] [ROUND-ENV]
template <class Body>
fp8ref_status call(const char* name, Body body) noexcept {
  clear_error();
  try {
    const cpu::FpEnv env;
    body(Op(name));
    return FP8REF_OK;
  } catch (...) {
    return failed(name);
  }
}

}  // namespace fp8ref::c
