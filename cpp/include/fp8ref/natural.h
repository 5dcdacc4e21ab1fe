// SPDX-License-Identifier: Apache-2.0
// Natural numbers of any size, for exact comparisons of powers. Host only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fp8ref {

class Natural {
 public:
  explicit Natural(std::uint64_t x) {
    for (; x != 0; x >>= 32) digits_.push_back(static_cast<std::uint32_t>(x));
  }

  Natural times(const Natural& other) const {
    Natural product(0);
    product.digits_.resize(digits_.size() + other.digits_.size());
    for (std::size_t i = 0; i < digits_.size(); ++i) {
      std::uint64_t carry = 0;
      for (std::size_t j = 0; j < other.digits_.size(); ++j) {
        carry += static_cast<std::uint64_t>(digits_[i]) * other.digits_[j] + product.digits_[i + j];
        product.digits_[i + j] = static_cast<std::uint32_t>(carry);
        carry >>= 32;
      }
      product.digits_[i + other.digits_.size()] = static_cast<std::uint32_t>(carry);
    }
    product.trim();
    return product;
  }

  Natural power(std::int64_t exponent) const {
    Natural result(1), square = *this;
    for (; exponent > 0; exponent >>= 1) {
      if ((exponent & 1) != 0) result = result.times(square);
      if (exponent > 1) square = square.times(square);
    }
    return result;
  }

  Natural shifted_left(std::int64_t bits) const {
    Natural result = times(Natural(std::uint64_t{1} << (bits % 32)));
    if (!result.digits_.empty()) {
      result.digits_.insert(result.digits_.begin(), static_cast<std::size_t>(bits / 32), 0);
    }
    return result;
  }

  /// The sign of this - other.
  int compare(const Natural& other) const {
    if (digits_.size() != other.digits_.size()) return digits_.size() < other.digits_.size() ? -1 : 1;
    for (std::size_t i = digits_.size(); i-- > 0;) {
      if (digits_[i] != other.digits_[i]) return digits_[i] < other.digits_[i] ? -1 : 1;
    }
    return 0;
  }

 private:
  void trim() {
    while (!digits_.empty() && digits_.back() == 0) digits_.pop_back();
  }

  std::vector<std::uint32_t> digits_;  // least significant first, the last one not zero
};

}  // namespace fp8ref
