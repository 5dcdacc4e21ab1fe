// SPDX-License-Identifier: Apache-2.0
#include "c/op.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "fp8ref/errors.h"
#include "fp8ref/round.h"
#include "policies.h"

namespace fp8ref::c {
namespace {

struct Dtype {
  fp8ref_dtype code;
  std::string_view name;
};
constexpr Dtype kDtypes[] = {
    {FP8REF_FLOAT32, "float32"},
    {FP8REF_FLOAT64, "float64"},
    {FP8REF_FLOAT16, "float16"},
    {FP8REF_BFLOAT16, "bfloat16"},
    {FP8REF_INT32, "int32"},
    {FP8REF_FLOAT8_E4M3FN, "float8_e4m3fn"},
    {FP8REF_INT64, "int64"},
    {FP8REF_FLOAT8_E5M2, "float8_e5m2"},
    {FP8REF_FLOAT8_E8M0FNU, "float8_e8m0fnu"},
};

constexpr int kMostDimensions = 64;

/// 2^(code - 127), of which code 0 is subnormal, and NaN for 255. [MM-SCALES]
float power_of_two(std::uint8_t code) {
  if (code == 255) return std::bit_cast<float>(kNan32);
  return std::bit_cast<float>(code == 0 ? std::uint32_t{0x00400000} : std::uint32_t{code} << 23);
}

}  // namespace

std::string name_of(fp8ref_dtype code) {
  for (const Dtype& dtype : kDtypes) {
    if (dtype.code == code) return std::string(dtype.name);
  }
  return "unknown (" + std::to_string(code) + ")";
}

std::string text(std::span<const std::int64_t> shape) {
  std::string result = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) result.append(i ? ", " : "").append(std::to_string(shape[i]));
  return result + (shape.size() == 1 ? ",)" : ")");
}

std::string text(std::initializer_list<fp8ref_dtype> types) {
  std::string result;
  for (const fp8ref_dtype* type = types.begin(); type != types.end(); ++type) {
    result.append(type == types.begin() ? "" : type + 1 == types.end() ? " or " : ", ").append(name_of(*type));
  }
  return result;
}

std::string describe(const Array& array) { return "shape " + text(array.shape) + ", dtype " + name_of(array.dtype); }

bool is_one_value(std::span<const std::int64_t> shape) {
  return shape.size() <= 2 && std::all_of(shape.begin(), shape.end(), [](std::int64_t n) { return n == 1; });
}

void Op::fail(const std::string& message) const { throw OpError(std::string(name_) + ": " + message); }

// ---- tensors --------------------------------------------------------------------------------------------------------

Array Op::array(const char* name, const fp8ref_tensor* tensor, std::initializer_list<fp8ref_dtype> types,
                int ndim) const {
  const std::string what(name);
  if (tensor == nullptr) fail(what + " must be given, got NULL");
  if (tensor->ndim < 0 || tensor->ndim > kMostDimensions || (tensor->ndim > 0 && tensor->shape == nullptr)) {
    fail(what + " must have a shape of 0 to 64 dimensions, got ndim " + std::to_string(tensor->ndim));
  }
  Array found{tensor->data, {tensor->shape, static_cast<std::size_t>(tensor->ndim)}, tensor->dtype, 1};
  bool negative = false, empty = false, large = false;
  for (const std::int64_t n : found.shape) {
    negative |= n < 0;
    empty |= n == 0;
    if (n > 0 && found.size > std::numeric_limits<std::int64_t>::max() / 16 / n) large = true;
    if (n > 0 && !large) found.size *= n;
  }
  if (negative || (large && !empty)) fail(what + " has an impossible size, got " + describe(found));
  if (empty) found.size = 0;
  if (found.size > 0 && found.data == nullptr) fail(what + " has no data, got " + describe(found));
  if (std::find(types.begin(), types.end(), tensor->dtype) == types.end()) {
    fail(what + " must be " + text(types) + ", got " + describe(found));
  }
  if (ndim != kAnyDimensions && tensor->ndim != ndim) {
    fail(what + " must have " + std::to_string(ndim) + " dimensions, got " + describe(found));
  }
  return found;
}

Array Op::bf16_array(const char* name, const fp8ref_tensor* tensor, int ndim) const {
  return array(name, tensor, {FP8REF_BFLOAT16}, ndim);
}

Array Op::fp8_array(const char* name, const fp8ref_tensor* tensor, int ndim) const {
  return array(name, tensor, {FP8REF_FLOAT8_E4M3FN, FP8REF_FLOAT8_E5M2}, ndim);
}

Array Op::output(const char* name, fp8ref_tensor* tensor, std::initializer_list<fp8ref_dtype> types,
                 const Shape& shape) const {
  const Array found = array(name, tensor, types);
  if (!found.has_shape(shape)) {
    fail(std::string(name) + " must have shape " + text(shape) + ", got " + describe(found));
  }
  return found;
}

std::vector<std::int64_t> Op::integers(const char* name, const fp8ref_tensor* tensor, int ndim) const {
  const Array found = array(name, tensor, {FP8REF_INT32, FP8REF_INT64}, ndim);
  std::vector<std::int64_t> values(static_cast<std::size_t>(found.size));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = found.dtype == FP8REF_INT32 ? found.as<const std::int32_t>()[i] : found.as<const std::int64_t>()[i];
  }
  return values;
}

std::pair<Array, Array> Op::bf16_pair(const char* first, const fp8ref_tensor* x, const char* second,
                                      const fp8ref_tensor* y) const {
  const Array left = bf16_array(first, x), right = bf16_array(second, y);
  if (!left.has_shape(right.same_shape())) {
    fail(std::string(first) + " and " + second + " must have the same shape, got " + describe(left) + " and " +
         describe(right));
  }
  return {left, right};
}

// ---- numbers --------------------------------------------------------------------------------------------------------

std::vector<float> Op::widened(const Array& array) const {
  std::vector<float> values(static_cast<std::size_t>(array.size));
  for (std::size_t i = 0; i < values.size(); ++i) {
    switch (array.dtype) {
      case FP8REF_BFLOAT16:
        values[i] = widen(array.as<const bf16>()[i]);
        break;
      case FP8REF_FLOAT16:
        values[i] = widen(array.as<const fp16>()[i]);
        break;
      case FP8REF_FLOAT8_E8M0FNU:
        values[i] = power_of_two(array.as<const std::uint8_t>()[i]);
        break;
      default:
        values[i] = array.as<const float>()[i];
    }
  }
  return values;
}

std::vector<float> Op::scales(const char* name, const Array& array) const {
  std::vector<float> values = widened(array);
  for (const float value : values) {
    if (std::bit_cast<std::uint32_t>(value) >> 31 != 0) fail(std::string(name) + " must have its sign bit clear");
  }
  return values;
}

float Op::scale_value(const char* name, const fp8ref_tensor* tensor) const {
  const Array found = array(name, tensor, kScaleTypes);
  if (!is_one_value(found.shape)) fail(std::string(name) + " must be one value, got " + describe(found));
  return scales(name, found)[0];
}

std::optional<std::vector<float>> Op::bias(const fp8ref_tensor* tensor, const Shape& shape) const {
  if (tensor == nullptr) return std::nullopt;
  const Array found = array("bias", tensor, {FP8REF_FLOAT32, FP8REF_BFLOAT16, FP8REF_FLOAT16});
  if (!found.has_shape(shape)) fail("bias must have shape " + text(shape) + ", got " + describe(found));
  return widened(found);
}

void Op::positive_float32(const char* name, double value) const {
  // The largest double that rounds to zero, and the smallest that rounds to infinity.
  if (!(value > 0x1p-150 && value < 0x1.ffffffp127)) {
    fail(std::string(name) + " must be a number that is positive and finite in float32, got " + std::to_string(value));
  }
}

void Op::positive_float64(const char* name, double value) const {
  if (!(value > 0 && value <= std::numeric_limits<double>::max())) {
    fail(std::string(name) + " must be a number that is positive and finite, got " + std::to_string(value));
  }
}

// ---- policies -------------------------------------------------------------------------------------------------------

std::string_view Op::policy(const char* name, const char* value) const {
  if (value == nullptr) fail(std::string(name) + " must be given, got NULL");
  return value;
}

Accumulate Op::accumulate(const char* value, bool (*takes)(Accumulate)) const {
  const std::string_view wanted = policy("accumulate", value);
  std::string known;
  for (const auto& [name, row] : accumulates()) {
    if (!takes(row)) continue;
    if (name == wanted) return row;
    known.append(known.empty() ? "" : ", ").append(name);
  }
  fail("accumulate='" + std::string(wanted) + "' is unknown; known: " + known);
}

}  // namespace fp8ref::c
