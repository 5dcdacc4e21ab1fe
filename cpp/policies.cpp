// SPDX-License-Identifier: Apache-2.0
#include "policies.h"

#include <array>
#include <string>

#include "fp8ref/errors.h"
#include "fp8ref/rule_table.h"

namespace fp8ref {
namespace {

template <class E, std::size_t N>
E lookup(std::string_view kind, std::string_view name, const std::array<std::pair<std::string_view, E>, N>& table) {
  for (const auto& [known, value] : table) {
    if (known == name) return value;
  }
  std::string message = "unknown " + std::string(kind) + " '" + std::string(name) + "'; known:";
  for (const auto& [known, value] : table) message.append(1, ' ').append(known);
  throw OpError(message);
}

template <class E, std::size_t N>
using Table = std::array<std::pair<std::string_view, E>, N>;

constexpr Table<Accumulate, 11> kAccumulates{{{"exact", Accumulate::exact},
                                              {"sm80_mma", Accumulate::sm80_mma},
                                              {"sm89_mma", Accumulate::sm89_mma},
                                              {"sm90_mma_sync", Accumulate::sm90_mma_sync},
                                              {"sm90_wgmma", Accumulate::sm90_wgmma},
                                              {"sm90_wgmma_promoted", Accumulate::sm90_wgmma_promoted},
                                              {"sm100_tcgen05", Accumulate::sm100_tcgen05},
                                              {"sm120_mma", Accumulate::sm120_mma},
                                              {"sm80", Accumulate::sm80},
                                              {"sm89", Accumulate::sm89},
                                              {"sm90", Accumulate::sm90}}};

}  // namespace

Overflow overflow_of(std::string_view name) {
  static constexpr Table<Overflow, 2> table{{{"saturate", Overflow::saturate}, {"nan", Overflow::nan}}};
  return lookup("overflow", name, table);
}

std::span<const std::pair<std::string_view, Accumulate>> accumulates() { return kAccumulates; }

Accumulate accumulate_of(std::string_view name) { return lookup("accumulate", name, kAccumulates); }

Operand operand_of(std::string_view name) {
  static constexpr Table<Operand, 4> table{{{"float8_e4m3fn", Operand::e4m3},
                                            {"float8_e5m2", Operand::e5m2},
                                            {"bfloat16", Operand::bf16},
                                            {"float16", Operand::fp16}}};
  return lookup("operand", name, table);
}

Epilogue epilogue_of(std::string_view name) {
  static constexpr Table<Epilogue, 6> table{{{"a_b", Epilogue::a_b},
                                             {"b_a", Epilogue::b_a},
                                             {"ab", Epilogue::ab},
                                             {"deepgemm", Epilogue::deepgemm},
                                             {"triton", Epilogue::triton},
                                             {"triton_ba", Epilogue::triton_ba}}};
  return lookup("epilogue", name, table);
}

Scales scales_of(std::string_view name) {
  static constexpr Table<Scales, 2> table{{{"values", Scales::values}, {"blocks", Scales::blocks}}};
  return lookup("scales", name, table);
}

OutDtype out_dtype_of(std::string_view name) {
  static constexpr Table<OutDtype, 4> table{{{"float32", OutDtype::float32},
                                             {"bfloat16", OutDtype::bfloat16},
                                             {"float16", OutDtype::float16},
                                             {"float8_e4m3fn", OutDtype::float8_e4m3fn}}};
  return lookup("out_dtype", name, table);
}

const Rule& rule_of(std::string_view name) {
  if (const Rule* rule = find_rule(name)) return *rule;
  std::string message = "unknown rule '" + std::string(name) + "'; known:";
  for (const Rule& rule : kRules) message.append(1, ' ').append(rule.name);
  throw OpError(message);
}

Mask mask_of(std::string_view name) {
  static constexpr Table<Mask, 3> table{{{"causal", Mask::causal}, {"chunked", Mask::chunked}, {"full", Mask::full}}};
  return lookup("mask", name, table);
}

RopeLayout layout_of(std::string_view name) {
  static constexpr Table<RopeLayout, 2> table{
      {{"rotate_half", RopeLayout::rotate_half}, {"interleaved", RopeLayout::interleaved}}};
  return lookup("layout", name, table);
}

Weights weights_of(std::string_view name) {
  static constexpr Table<Weights, 2> table{{{"mapped", Weights::mapped}, {"streamed", Weights::streamed}}};
  return lookup("weights", name, table);
}

}  // namespace fp8ref
