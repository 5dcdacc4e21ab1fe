// SPDX-License-Identifier: Apache-2.0
// `re:` patterns of a config: the answers of Python's re.match for a subset of its syntax, without backtracking.
// [CKPT-PATTERN]. Internal.
#pragma once

#include <bitset>
#include <string>
#include <string_view>
#include <vector>

namespace fp8ref::checkpoint {

class Pattern {
 public:
  /// Throws UnsupportedError (without a file name) if the pattern is outside of the subset. text: UTF-8.
  explicit Pattern(std::string_view text);

  /// Whether the pattern matches at the start of a name, which is ASCII.
  bool matches(std::string_view name) const;

 private:
  friend class PatternParser;

  struct Node {
    enum class Kind { character, start, end, sequence, either, repeat } kind;
    std::bitset<128> accepted;   // character
    int least = 0, most = 0;     // repeat; most < 0: any number
    std::vector<Node> children;  // sequence, either: any number; repeat: one
  };
  using Positions = std::vector<bool>;  // of a name's characters, and its end

  static Positions run(const Node& node, std::string_view name, Positions at);
  static Positions repeat(const Node& node, std::string_view name, Positions at);

  Node root_;
};

}  // namespace fp8ref::checkpoint
