// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace fp8ref::checkpoint {
namespace {

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kShown = 80;

/// A text as one line of ASCII.
std::string printable(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte > 0x7E) {
      out.append({'\\', 'x', kHex[byte >> 4], kHex[byte & 15]});
    } else {
      out += c;
    }
  }
  return out;
}

/// Builds the value while nlohmann/json's parser (which does not recurse) walks the text. That library's own tree would
/// drop all but one of two equal keys, and forgets their order.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(const std::string& file, const std::string& what) : file_(file), what_(what) {}

  bool null() override { return add({nullptr}); }
  bool boolean(bool value) override { return add({value}); }
  bool number_integer(std::int64_t value) override { return add({value}); }
  bool number_unsigned(std::uint64_t value) override { return add({value}); }
  bool number_float(double value, const std::string&) override { return add({value}); }
  bool string(std::string& value) override { return add({std::move(value)}); }
  bool binary(nlohmann::json::binary_t&) override { return false; }  // JSON has none
  bool start_object(std::size_t) override { return open({Object()}); }
  bool start_array(std::size_t) override { return open({Array()}); }
  bool end_array() override { return close(); }
  bool end_object() override {
    check_unique(std::get<Object>(open_.back().data));
    return close();
  }
  bool key(std::string& name) override {
    std::get<Object>(open_.back().data).emplace_back(std::move(name), Value{nullptr});
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    fail(printable(error.what()));  // it quotes the text, which may not even be UTF-8
  }

  Value& root() { return root_; }

 private:
  [[noreturn]] void fail(const std::string& reason) const {
    throw damaged(file_, what_ + " is not valid JSON: " + reason);
  }

  bool add(Value value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (Array* array = std::get_if<Array>(&open_.back().data)) {
      array->push_back(std::move(value));
    } else {
      std::get<Object>(open_.back().data).back().second = std::move(value);
    }
    return true;
  }

  bool open(Value value) {
    if (open_.size() == kMaxDepth) fail("nested more than " + std::to_string(kMaxDepth) + " deep");
    open_.push_back(std::move(value));
    return true;
  }

  bool close() {
    Value value = std::move(open_.back());
    open_.pop_back();
    return add(std::move(value));
  }

  void check_unique(const Object& object) const {
    std::vector<std::string_view> keys;
    keys.reserve(object.size());
    for (const auto& [key, value] : object) keys.push_back(key);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) fail("key " + quote(*twice) + " appears twice");
  }

  const std::string& file_;
  const std::string& what_;
  std::vector<Value> open_;  // objects and arrays that have not ended yet
  Value root_{nullptr};
};

}  // namespace

bool Value::integer(std::int64_t low, std::int64_t high, std::int64_t& out) const {
  if (const auto* small = std::get_if<std::int64_t>(&data)) {
    out = *small;
  } else if (const auto* large = std::get_if<std::uint64_t>(&data)) {
    if (*large > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return false;
    out = static_cast<std::int64_t>(*large);
  } else {
    return false;
  }
  return low <= out && out <= high;
}

std::string quote(std::string_view text) {
  std::string out = "'";
  out += printable(text.substr(0, kShown));
  out += text.size() > kShown ? "...'" : "'";
  return out;
}

std::string show(const Value& value) {
  struct {
    std::string operator()(std::nullptr_t) const { return "null"; }
    std::string operator()(bool x) const { return x ? "true" : "false"; }
    std::string operator()(std::int64_t x) const { return std::to_string(x); }
    std::string operator()(std::uint64_t x) const { return std::to_string(x); }
    std::string operator()(double x) const { return nlohmann::json(x).dump(); }
    std::string operator()(const std::string& x) const { return quote(x); }
    std::string operator()(const Array& x) const {
      std::string out = "[";
      for (const Value& item : x) {
        if (out.size() > 1) out += ", ";
        if (out.size() > kShown) return out + "...]";
        out += show(item);
      }
      return out + "]";
    }
    std::string operator()(const Object& x) const {
      std::string out = "{";
      for (const auto& [key, item] : x) {
        if (out.size() > 1) out += ", ";
        if (out.size() > kShown) return out + "...}";
        out += quote(key) + ": " + show(item);
      }
      return out + "}";
    }
  } visitor;
  return std::visit(visitor, value.data);
}

CheckpointError damaged(const std::string& file, const std::string& message) {
  return CheckpointError(file + ": " + message);
}

Object parse_object(std::string_view text, const std::string& file, const std::string& what) {
  // The library skips a byte order mark and takes a NUL byte for the end of the text.
  if (text.starts_with("\xEF\xBB\xBF")) throw damaged(file, what + " is not valid JSON: it has a byte order mark");
  if (text.find('\0') != text.npos) throw damaged(file, what + " is not valid JSON: it holds a NUL byte");
  Builder builder(file, what);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  Object* object = std::get_if<Object>(&builder.root().data);
  if (object == nullptr) throw damaged(file, what + " must be a JSON object, got " + show(builder.root()));
  return std::move(*object);
}

const Object& Section::values() const {
  static const Object none;
  return values_ == nullptr ? none : *values_;
}

const Value* Section::find(std::string_view key) const {
  for (const auto& [name, value] : values()) {
    if (name == key) return &value;
  }
  return nullptr;
}

bool Section::has(std::string_view key) const {
  const Value* value = find(key);
  return value != nullptr && !value->is_null();
}

CheckpointError Section::wrong(std::string_view key, const std::string& expected) const {
  const Value* value = find(key);
  if (value == nullptr) return damaged(file_, "key " + path(key) + " is missing; expected " + expected);
  return damaged(file_, "key " + path(key) + " must be " + expected + ", got " + show(*value));
}

UnsupportedError Section::unsupported(std::string_view key, const std::string& supported) const {
  const Value* value = find(key);
  const std::string found = value == nullptr ? "absent" : show(*value);
  return UnsupportedError(file_ + ": key " + path(key) + " (" + found + ") is not supported; supported: " + supported);
}

std::int64_t Section::integer(std::string_view key, std::int64_t low, std::int64_t high) const {
  const Value* value = find(key);
  std::int64_t out = 0;
  if (value == nullptr || !value->integer(low, high, out)) {
    throw wrong(key, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return out;
}

std::int64_t Section::integer(std::string_view key, std::int64_t low, std::int64_t high, std::int64_t otherwise) const {
  return has(key) ? integer(key, low, high) : otherwise;
}

double Section::number(std::string_view key) const {
  const Value* value = find(key);
  if (value != nullptr) {
    if (const auto* x = std::get_if<double>(&value->data); x != nullptr && std::isfinite(*x)) return *x;
    if (const auto* x = std::get_if<std::int64_t>(&value->data)) return static_cast<double>(*x);
    if (const auto* x = std::get_if<std::uint64_t>(&value->data)) return static_cast<double>(*x);
  }
  throw wrong(key, "a finite number");
}

std::string Section::string(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr || value->string() == nullptr) throw wrong(key, "a string");
  return *value->string();
}

std::string Section::string(std::string_view key, std::string_view otherwise) const {
  return has(key) ? string(key) : std::string(otherwise);
}

bool Section::boolean(std::string_view key, bool otherwise) const {
  if (!has(key)) return otherwise;
  const auto* value = std::get_if<bool>(&find(key)->data);
  if (value == nullptr) throw wrong(key, "true or false");
  return *value;
}

std::vector<std::string> Section::strings(std::string_view key) const {
  std::vector<std::string> out;
  if (!has(key)) return out;
  const Array* array = find(key)->array();
  if (array == nullptr) throw wrong(key, "a list of strings");
  for (const Value& item : *array) {
    if (item.string() == nullptr) throw wrong(key, "a list of strings");
    out.push_back(*item.string());
  }
  return out;
}

std::vector<std::int64_t> Section::integers(std::string_view key, std::int64_t low, std::int64_t high) const {
  std::vector<std::int64_t> out;
  if (!has(key)) return out;
  const std::string expected = "a list of integers from " + std::to_string(low) + " to " + std::to_string(high);
  const Array* array = find(key)->array();
  if (array == nullptr) throw wrong(key, expected);
  for (const Value& item : *array) {
    out.emplace_back();
    if (!item.integer(low, high, out.back())) throw wrong(key, expected);
  }
  return out;
}

Section Section::section(std::string_view key) const {
  const Object* object = has(key) ? find(key)->object() : nullptr;
  if (has(key) && object == nullptr) throw wrong(key, "an object");
  return Section(file_, object, path(key) + ".");
}

}  // namespace fp8ref::checkpoint
