// SPDX-License-Identifier: Apache-2.0
// JSON that is not trusted: a strict parser, and typed look-ups whose errors name the file and the key. [CKPT-JSON],
// [CKPT-VALUES]. Internal.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "fp8ref/errors.h"

namespace fp8ref::checkpoint {

struct Value;
using Array = std::vector<Value>;
using Object = std::vector<std::pair<std::string, Value>>;  // in the file's order; no key twice

/// A JSON value. Integers that fit neither alternative are doubles: no key accepts them as integers.
struct Value {
  std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, double, std::string, Array, Object> data;

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(data); }
  const std::string* string() const { return std::get_if<std::string>(&data); }
  const Array* array() const { return std::get_if<Array>(&data); }
  const Object* object() const { return std::get_if<Object>(&data); }
  /// The value as an integer in [low, high] (low <= 0 or more, high at most 2^63 - 1), else false.
  bool integer(std::int64_t low, std::int64_t high, std::int64_t& out) const;
};

/// Text in quotes for an error message: one line of ASCII, cut to a readable length.
std::string quote(std::string_view text);
/// A value for an error message.
std::string show(const Value& value);

/// The error to throw: file name first.
CheckpointError damaged(const std::string& file, const std::string& message);

/// The JSON object in a text; `what` says in an error which part of the file it is.
Object parse_object(std::string_view text, const std::string& file, const std::string& what);

/// An object of a file, read key by key; null counts as absent. Absent objects are empty ones.
class Section {
 public:
  Section(std::string file, const Object* values, std::string prefix = "")
      : file_(std::move(file)), values_(values), prefix_(std::move(prefix)) {}

  const std::string& file() const { return file_; }
  bool empty() const { return values_ == nullptr || values_->empty(); }
  const Object& values() const;

  /// The value of a key, null too; nullptr if the key is absent.
  const Value* find(std::string_view key) const;
  bool has(std::string_view key) const;
  /// The key with all keys above it.
  std::string path(std::string_view key) const { return prefix_ + std::string(key); }

  CheckpointError wrong(std::string_view key, const std::string& expected) const;
  UnsupportedError unsupported(std::string_view key, const std::string& supported) const;

  // Required unless a default is given.
  std::int64_t integer(std::string_view key, std::int64_t low, std::int64_t high = kMax32) const;
  std::int64_t integer(std::string_view key, std::int64_t low, std::int64_t high, std::int64_t otherwise) const;
  double number(std::string_view key) const;
  double number(std::string_view key, double otherwise) const { return has(key) ? number(key) : otherwise; }
  std::string string(std::string_view key) const;
  std::string string(std::string_view key, std::string_view otherwise) const;
  bool boolean(std::string_view key, bool otherwise) const;
  // Empty if absent.
  std::vector<std::string> strings(std::string_view key) const;
  std::vector<std::int64_t> integers(std::string_view key, std::int64_t low, std::int64_t high) const;
  Section section(std::string_view key) const;

  static constexpr std::int64_t kMax32 = std::numeric_limits<std::int32_t>::max();

 private:
  std::string file_;
  const Object* values_;
  std::string prefix_;
};

}  // namespace fp8ref::checkpoint
