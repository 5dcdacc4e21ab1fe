// SPDX-License-Identifier: Apache-2.0
// Inputs that kernels get wrong: special values, rows of zeros, and arrays that start beside an aligned address.
#pragma once

#include "compare.h"
#include "fp8ref/round.h"

namespace fp8ref::test {

/// An array whose first element lies `offset` elements past a multiple of 256 bytes.
template <class T>
class Placed {
 public:
  Placed(const std::vector<T>& values, int offset)
      : size_(values.size()), raw_((size_ + static_cast<std::size_t>(offset)) * sizeof(T) + 512) {
    const std::size_t past = reinterpret_cast<std::uintptr_t>(raw_.data()) % 256;
    data_ = reinterpret_cast<T*>(raw_.data() + (256 - past)) + offset;
    if (size_ != 0) std::memcpy(data_, values.data(), size_ * sizeof(T));
  }
  Placed(std::int64_t n, int offset) : Placed(std::vector<T>(static_cast<std::size_t>(n)), offset) {}
  Placed(const Placed&) = delete;
  Placed& operator=(const Placed&) = delete;

  T* data() { return data_; }
  std::vector<T> values() const { return {data_, data_ + size_}; }

 private:
  std::size_t size_;
  std::vector<unsigned char> raw_;
  T* data_;
};

template <class T>
T from_bits(std::uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// How the rows of an input are made.
enum class Rows { normal, wide, special, zero, bits, one_nan };
inline constexpr Rows kAllRows[] = {Rows::normal, Rows::wide, Rows::special, Rows::zero, Rows::bits, Rows::one_nan};

/// T of about sigma, by its bits: a sign, an exponent field and a fraction.
template <class T>
T random_number(Random& random, int low_exponent, int high_exponent) {
  constexpr int kFraction = Format<T>::kPrecision - 1, kBits = 8 * static_cast<int>(sizeof(T));
  const std::uint64_t bits = random();
  const int exponent = low_exponent + static_cast<int>(bits % static_cast<unsigned>(high_exponent - low_exponent + 1));
  const std::uint64_t field = static_cast<std::uint64_t>(exponent - Format<T>::kMinExponent + 1);
  const std::uint64_t fraction = (bits >> 16) & ((std::uint64_t{1} << kFraction) - 1);
  return from_bits<T>(((bits >> 63) << (kBits - 1)) | field << kFraction | fraction);
}

template <class T>
T hostile_value(Random& random, Rows kind, bool last) {
  constexpr int kFraction = Format<T>::kPrecision - 1;
  constexpr std::uint64_t kInfinity = Format<T>::kOverflow, kSign = kInfinity + (std::uint64_t{1} << kFraction);
  const std::uint64_t specials[] = {
      0, kSign, 1, kSign | 1, (std::uint64_t{1} << kFraction) - 1, kInfinity - 1, kInfinity, kSign | kInfinity};
  switch (kind) {
    case Rows::normal:
      return random_number<T>(random, -6, 1);
    case Rows::wide:
      return random_number<T>(random, Format<T>::kMinExponent, Format<T>::kMaxExponent);
    case Rows::special:
      return random() % 4 != 0 ? random_number<T>(random, -6, 1) : from_bits<T>(specials[random() % 8]);
    case Rows::zero:
      return from_bits<T>(random() % 2 == 0 ? 0 : kSign);
    case Rows::bits:
      return from_bits<T>(random());
    case Rows::one_nan:
      return last ? from_bits<T>(kInfinity | kSign | 1) : random_number<T>(random, -6, 1);
  }
  return {};
}

/// (rows, cols) of one kind.
template <class T>
std::vector<T> hostile(Random& random, Rows kind, std::int64_t rows, std::int64_t cols) {
  std::vector<T> values(static_cast<std::size_t>(rows * cols));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = hostile_value<T>(random, kind, i + 1 == values.size());
  return values;
}

}  // namespace fp8ref::test
