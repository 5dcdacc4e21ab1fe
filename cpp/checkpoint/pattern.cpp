// SPDX-License-Identifier: Apache-2.0
// A config is not trusted, and a backtracking matcher can be made to run for years by twenty characters. Here each part
// of a pattern maps the set of positions where it may begin to the set of those where it may end.
#include "checkpoint/pattern.h"

#include <algorithm>

#include "fp8ref/errors.h"

namespace fp8ref::checkpoint {
namespace {

constexpr std::size_t kMaxLength = 256;
constexpr int kMaxGroups = 4;
constexpr int kMaxCount = 32;

using Characters = std::bitset<128>;

bool digit(char32_t c) { return c >= '0' && c <= '9'; }
bool letter(char32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

template <class Accepts>
Characters characters(const Accepts& accepts) {
  Characters set;
  for (char32_t c = 0; c < 128; ++c) set[c] = accepts(c);
  return set;
}

/// The code points of UTF-8 (which JSON has made sure of).
std::u32string code_points(std::string_view text) {
  std::u32string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0) == 0x80 && !out.empty()) {
      out.back() = out.back() << 6 | (byte & 0x3F);
    } else {
      out.push_back(byte < 0x80 ? byte : byte < 0xE0 ? byte & 0x1F : byte < 0xF0 ? byte & 0x0F : byte & 0x07);
    }
  }
  return out;
}

bool any(const std::vector<bool>& set) { return std::find(set.begin(), set.end(), true) != set.end(); }

}  // namespace

/// Recursive descent; groups bound the recursion.
class PatternParser {
 public:
  using Node = Pattern::Node;
  using Kind = Node::Kind;

  explicit PatternParser(std::u32string text) : text_(std::move(text)) {}

  Node parse() {
    if (text_.size() > kMaxLength) throw UnsupportedError("longer than " + std::to_string(kMaxLength) + " characters");
    Node node = alternatives(0);
    if (at_ != text_.size()) fail("unmatched ')'");
    return node;
  }

 private:
  static constexpr char32_t kEnd = 0xFFFFFFFF;  // no code point

  [[noreturn]] void fail(const std::string& message) const {
    throw UnsupportedError(message + " at character " + std::to_string(at_));
  }

  char32_t peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : kEnd; }
  char32_t take() {
    const char32_t c = peek();
    if (c != kEnd) ++at_;
    return c;
  }
  bool accept(char32_t c) {
    const bool found = peek() == c;
    if (found) ++at_;
    return found;
  }

  Node alternatives(int groups) {
    Node node{Kind::either, {}, 0, 0, {}};
    do {
      node.children.push_back(sequence(groups));
    } while (accept('|'));
    return node;
  }

  Node sequence(int groups) {
    Node node{Kind::sequence, {}, 0, 0, {}};
    while (peek() != kEnd && peek() != '|' && peek() != ')') node.children.push_back(repetition(groups));
    return node;
  }

  Node repetition(int groups) {
    const bool anchor = peek() == '^' || peek() == '$';
    Node node = atom(groups);
    int least = 0, most = 0;
    if (!bounds(least, most)) return node;
    accept('?');  // lazy: no other matches, only another preference
    if (anchor || marks_repetition(peek())) fail("unsupported repetition");
    return {Kind::repeat, {}, least, most, {std::move(node)}};
  }

  static bool marks_repetition(char32_t c) { return c == '*' || c == '+' || c == '?' || c == '{'; }

  bool bounds(int& least, int& most) {
    if (!marks_repetition(peek())) return false;
    const char32_t mark = take();
    least = mark == '+' ? 1 : 0;
    most = mark == '?' ? 1 : -1;
    if (mark != '{') return true;
    least = most = count();
    if (accept(',')) most = peek() == '}' ? -1 : count();
    if (!accept('}') || (most >= 0 && most < least)) fail("unsupported repetition");
    return true;
  }

  int count() {
    int value = 0, digits = 0;
    for (; digit(peek()) && digits < 3; ++digits) value = 10 * value + static_cast<int>(take() - '0');
    if (digits < 1 || digits > 2 || value > kMaxCount) fail("unsupported repetition");
    return value;
  }

  Node atom(int groups) {
    const char32_t c = take();
    switch (c) {
      case '(':
        return group(groups + 1);
      case '[':
        return {Kind::character, char_class(), 0, 0, {}};
      case '^':
        return {Kind::start, {}, 0, 0, {}};
      case '$':
        return {Kind::end, {}, 0, 0, {}};
      case '.':
        return {Kind::character, characters([](char32_t x) { return x != '\n'; }), 0, 0, {}};
      case '\\':
        return {Kind::character, escape(), 0, 0, {}};
      case '*':
      case '+':
      case '?':
      case '{':
      case '}':
      case ']':
        fail(std::string("unsupported '") + static_cast<char>(c) + "'");
      default:
        return {Kind::character, one(c), 0, 0, {}};
    }
  }

  Node group(int groups) {
    if (groups > kMaxGroups) fail("groups nested more than " + std::to_string(kMaxGroups) + " deep");
    if (peek() == '?') {
      ++at_;
      if (!accept(':')) fail("unsupported kind of group");
    }
    Node node = alternatives(groups);
    if (!accept(')')) fail("missing ')'");
    return node;
  }

  static Characters one(char32_t c) {
    return characters([c](char32_t x) { return x == c; });
  }

  Characters escape() {
    const char32_t c = take();
    switch (c) {
      case 'd':
      case 'D':
        return characters([c](char32_t x) { return digit(x) == (c == 'd'); });
      case 'w':
      case 'W':
        return characters([c](char32_t x) { return (digit(x) || letter(x) || x == '_') == (c == 'w'); });
      case 's':
      case 'S':
        return characters([c](char32_t x) { return (x == ' ' || (x >= '\t' && x <= '\r')) == (c == 's'); });
      default:
        if (c >= 128 || digit(c) || letter(c)) fail("unsupported escape");
        return one(c);
    }
  }

  Characters char_class() {
    const bool negated = accept('^');
    if (peek() == ']') fail("unsupported empty character class");
    Characters set;
    while (!accept(']')) {
      const char32_t c = take();
      if (c == kEnd || c == '[') fail("unsupported character class");
      if (c == '\\') {
        set |= escape();
      } else if (peek() == '-' && peek(1) != ']' && peek(1) != kEnd) {
        ++at_;
        set |= span(c);
      } else {
        set |= one(c);
      }
    }
    return negated ? ~set : set;
  }

  Characters span(char32_t low) {
    const char32_t high = take();
    if (high == '\\' || high == '[' || high < low) fail("unsupported range of characters");
    return characters([low, high](char32_t x) { return low <= x && x <= high; });
  }

  std::u32string text_;
  std::size_t at_ = 0;
};

Pattern::Pattern(std::string_view text) : root_(PatternParser(code_points(text)).parse()) {}

bool Pattern::matches(std::string_view name) const {
  Positions at(name.size() + 1, false);
  at[0] = true;
  return any(run(root_, name, std::move(at)));
}

Pattern::Positions Pattern::run(const Node& node, std::string_view name, Positions at) {
  Positions out(at.size(), false);
  switch (node.kind) {
    case Node::Kind::character:
      for (std::size_t i = 0; i < name.size(); ++i) {
        const auto c = static_cast<unsigned char>(name[i]);
        out[i + 1] = at[i] && c < 128 && node.accepted[c];
      }
      return out;
    case Node::Kind::start:
      out.front() = at.front();
      return out;
    case Node::Kind::end:
      out.back() = at.back();
      return out;
    case Node::Kind::sequence:
      for (const Node& child : node.children) at = run(child, name, std::move(at));
      return at;
    case Node::Kind::either:
      for (const Node& child : node.children) {
        const Positions ends = run(child, name, at);
        for (std::size_t i = 0; i < out.size(); ++i) out[i] = out[i] || ends[i];
      }
      return out;
    case Node::Kind::repeat:
      return repeat(node, name, std::move(at));
  }
  return out;
}

/// `least` to `most` times. Both loops end after about as many steps as the name has characters: the first where the
/// set no longer changes (then it never will), the second where nothing new is reached.
Pattern::Positions Pattern::repeat(const Node& node, std::string_view name, Positions at) {
  const Node& child = node.children.front();
  for (int i = 0; i < node.least; ++i) {
    Positions next = run(child, name, at);
    if (next == at) break;
    at = std::move(next);
  }
  Positions seen = at, fresh = std::move(at);
  for (int i = node.least; (node.most < 0 || i < node.most) && any(fresh); ++i) {
    fresh = run(child, name, std::move(fresh));
    for (std::size_t p = 0; p < seen.size(); ++p) {
      fresh[p] = fresh[p] && !seen[p];
      seen[p] = seen[p] || fresh[p];
    }
  }
  return seen;
}

}  // namespace fp8ref::checkpoint
