// SPDX-License-Identifier: Apache-2.0
// Rows of the record: what was expected, what came out, and whether it is the same; JSON.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "probe_batch.h"
#include "probe_random.h"

namespace probes {

struct Row {
  std::string id, expected, measured;
  bool held;
};

inline std::string hex(std::uint32_t bits, OutDtype out) {
  char text[16];
  std::snprintf(text, sizeof(text), out == OutDtype::float16 ? "0x%04X" : "0x%08X", bits);
  return text;
}

/// As `0x47800001 in 15, 0x47800000 in 15`; a single value stands alone.
inline std::string summary(const std::vector<std::uint32_t>& values, OutDtype out) {
  if (values.size() == 1) return hex(values[0], out);
  constexpr std::size_t kShown = 4;
  std::map<std::uint32_t, std::size_t> counts;
  for (const std::uint32_t value : values) ++counts[value];
  std::string text;
  std::size_t shown = 0;
  for (const auto& [value, count] : counts) {
    if (shown++ == kShown) return text + ", and " + std::to_string(counts.size() - kShown) + " other values";
    text += (text.empty() ? "" : ", ") + hex(value, out) + " in " + std::to_string(count);
  }
  return text;
}

/// Bits that every unit with the literal's numbers must give, else what the model says about the unit at hand.
inline std::uint32_t expected_bits(const Instruction& instruction, Accumulate unit, const Case& one) {
  const bool binding = core_of(instruction, unit) == core_of(instruction, one.unit);
  return binding ? one.bits : predict(core_of(instruction, unit), instruction, one);
}

/// Whether the instruction can run the case: its operands and result, and what only one form of it has.
inline bool fits(const Instruction& instruction, const Case& one) {
  if (instruction.a != one.operand || instruction.b != one.operand || instruction.out != one.out) return false;
  if (one.unit == Accumulate::sm90_mma_sync) return instruction.form == Form::mma_sync;
  return one.plan.start == Start::from_c || instruction.form != Form::mma_sync;  // mma.sync has no scale-d
}

/// Runs the cases of one id, which share a plan.
inline Row measure(const Machine& machine, const Instruction& instruction, Accumulate unit, const std::string& id,
                   const std::vector<const Case*>& cases) {
  const std::vector<std::uint32_t> results = machine(pack(instruction, cases));
  std::vector<std::uint32_t> expected(cases.size()), measured;
  in_parallel(static_cast<int>(cases.size()), [&](int i) {
    const auto at = static_cast<std::size_t>(i);
    expected[at] = expected_bits(instruction, unit, *cases[at]);
  });
  std::string first;
  std::size_t differing = 0;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    measured.push_back(expected[i]);
    for (const std::uint32_t copy : copies(results, static_cast<int>(i))) {
      if (copy == expected[i]) continue;
      measured[i] = copy;
    }
    if (measured[i] == expected[i]) continue;
    ++differing;
    if (!first.empty()) continue;
    first = "; first:";
    for (std::size_t t = 0; t < cases[i]->terms.size() && t < 4; ++t)
      first += " k=" + std::to_string(cases[i]->terms[t].k);
    first += " " + hex(measured[i], instruction.out) + " for " + hex(expected[i], instruction.out);
  }
  std::string text = summary(measured, instruction.out);
  if (differing > 0 && cases.size() > 1) text += "; " + std::to_string(differing) + " differ" + first;
  const std::string row = instruction.form == Form::wgmma_ss || cases[0]->unit == Accumulate::sm90_mma_sync
                              ? id
                              : id + " " + name(instruction.form);
  return {row, summary(expected, instruction.out), text, differing == 0};
}

/// Where an instruction does not follow its model: the numbers that describe a sample of its results best.
inline std::string best_fit(const Batch& batch, const std::vector<std::uint32_t>& results, const TensorCore& model) {
  constexpr int kSample = 4;  // tiles
  const std::size_t outputs = static_cast<std::size_t>(std::min(kSample, batch.tiles)) * kOutputs;
  Batch sample = batch;
  sample.tiles = std::min(kSample, batch.tiles);
  sample.c.resize(outputs);
  std::size_t fewest = outputs + 1;
  std::string text;
  for (const int block : {4, 8, 16, 32}) {
    for (int fraction = 11; fraction <= 26; ++fraction) {
      for (const fp8ref::Conversion result : {fp8ref::Conversion::e8m13, fp8ref::Conversion::fp32}) {
        TensorCore core{block, fraction, result, model.floor};
        if (model.result == fp8ref::Conversion::fp16) core.result = model.result;
        const std::vector<std::uint32_t> other = predict(core, sample);
        std::size_t differing = 0;
        for (std::size_t i = 0; i < outputs; ++i) differing += other[i] != results[i];
        if (differing >= fewest) continue;
        fewest = differing;
        text = "; best fit of a chain: block " + std::to_string(block) + ", fraction bits " + std::to_string(fraction) +
               (core.result == fp8ref::Conversion::e8m13 ? ", 14 significant bits, " : ", full result, ") +
               std::to_string(differing) + " of " + std::to_string(outputs) + " differ";
      }
    }
  }
  return text;
}

/// Random tiles against the model.
inline Row compare(const Machine& machine, const Instruction& instruction, Accumulate unit, Family family, int tiles) {
  const Batch batch = random_batch(instruction, family, tiles);
  const TensorCore core = core_of(instruction, unit);
  const std::vector<std::uint32_t> expected = predict(core, batch), results = machine(batch);
  std::size_t differing = 0, first = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == results[i]) continue;
    if (differing++ == 0) first = i;
  }
  const std::string of = " of " + std::to_string(expected.size()) + " differ";
  Row row{std::string("random ") + name(family) + " " + name(instruction), "0" + of, std::to_string(differing) + of,
          differing == 0};
  if (differing > 0) {
    row.measured += "; first: output " + std::to_string(first) + ", " + hex(results[first], instruction.out) + " for " +
                    hex(expected[first], instruction.out) + best_fit(batch, results, core);
  }
  return row;
}

/// Whether operands and results lie where the instruction wants them.
inline Row layout(const Machine& machine, const Instruction& instruction) {
  const IntegerProduct made = integer_product(instruction);
  const std::vector<std::uint32_t> results = machine(made.batch);
  int wrong = 0;
  for (int i = 0; i < kOutputs; ++i)
    wrong += results[static_cast<std::size_t>(i)] != made.results[static_cast<std::size_t>(i)];
  return {"layout " + name(instruction), "an integer product, 0 of 512 differ",
          std::to_string(wrong) + " of 512 differ", wrong == 0};
}

// ---- JSON -----------------------------------------------------------------------------------------------------------
inline std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + "\"";
}

using Fields = std::vector<std::pair<std::string, std::string>>;

/// One object: text fields, then the rows.
inline void print(const Fields& fields, const std::vector<Row>& rows) {
  std::printf("{\n");
  for (const auto& [key, value] : fields) std::printf("  %s: %s,\n", quoted(key).c_str(), quoted(value).c_str());
  std::printf("  \"probes\": [");
  const char* separator = "\n";
  for (const Row& row : rows) {
    std::printf("%s    {\"id\": %s, \"expected\": %s, \"measured\": %s, \"held\": %s}", separator,
                quoted(row.id).c_str(), quoted(row.expected).c_str(), quoted(row.measured).c_str(),
                row.held ? "true" : "false");
    separator = ",\n";
  }
  std::printf("\n  ]\n}\n");
}

}  // namespace probes
