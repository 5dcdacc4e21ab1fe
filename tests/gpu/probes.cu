// SPDX-License-Identifier: Apache-2.0
// The hardware probes: what the tensor cores of this GPU give, bit by bit, against what spec/mma.md says they give.
//
//   nvcc -gencode arch=compute_90a,code=sm_90a -std=c++20 -I cpp/include tests/gpu/probes.cu -o probes
//   ./probes                 measure on the GPU; a JSON object on stdout; exit code 1 if anything does not hold
//   ./probes --predict       no GPU: the written-down bits against the model
//   ./probes --stand-in      no GPU: the whole program, on the model in the place of the GPU
//
// --tiles N: random tiles of 512 outputs for each instruction and family (2048). --capability 9.0: of the stand-in.
// --form NAME: only wgmma_ss, wgmma_rs or mma_sync. --block, --fraction N: numbers that the stand-in has instead of the
// model's. --flip ID: a wrong bit in the table.
// Built with g++ -x c++ it has everything but the GPU.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "probe_report.h"
#if defined(__CUDACC__)
#include "probe_device.cuh"
#endif

namespace probes {
namespace {

enum class Mode { measure, predict, stand_in };
struct Options {
  Mode mode = Mode::measure;
  int tiles = 2048;
  Capability capability{9, 0};
  int block = 0, fraction = 0;  // 0: the model's
  std::string flip, form;
};

Options parse(int count, char** words) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    const auto value = [&]() -> const char* {
      if (++i < count) return words[i];
      std::fprintf(stderr, "%s needs a value\n", word.c_str());
      std::exit(2);
    };
    if (word == "--predict") {
      options.mode = Mode::predict;
    } else if (word == "--stand-in") {
      options.mode = Mode::stand_in;
    } else if (word == "--tiles") {
      options.tiles = std::atoi(value());
    } else if (word == "--block") {
      options.block = std::atoi(value());
    } else if (word == "--fraction") {
      options.fraction = std::atoi(value());
    } else if (word == "--flip") {
      options.flip = value();
    } else if (word == "--form") {
      options.form = value();
    } else if (word == "--capability") {
      if (std::sscanf(value(), "%d.%d", &options.capability.major, &options.capability.minor) != 2) std::exit(2);
    } else {
      std::fprintf(stderr, "unknown option %s\n", word.c_str());
      std::exit(2);
    }
  }
  return options;
}

/// All instructions that a probe knows; which of them a GPU has is decided by its capability.
std::vector<Instruction> instructions(Capability capability) {
  using enum Operand;
  constexpr OutDtype kFull = OutDtype::float32, kHalf = OutDtype::float16;
  const bool wgmma = capability.major == 9;
  const bool fp8 = capability.major > 8 || capability.minor >= 9;
  std::vector<Instruction> found;
  const auto add = [&found](Form form, bool with_fp8) {
    if (with_fp8) {
      found.push_back({form, e4m3, e4m3, kFull});
      found.push_back({form, e5m2, e5m2, kFull});
      found.push_back({form, e4m3, e5m2, kFull});
      found.push_back({form, e4m3, e4m3, kHalf});
      found.push_back({form, e5m2, e5m2, kHalf});
    }
    found.push_back({form, bf16, bf16, kFull});
    found.push_back({form, fp16, fp16, kFull});
    found.push_back({form, fp16, fp16, kHalf});
  };
  if (wgmma) add(Form::wgmma_ss, true);
  if (wgmma) add(Form::wgmma_rs, true);
  add(Form::mma_sync, fp8);
  return found;
}

std::vector<Case> table_with(const std::string& flip) {
  std::vector<Case> cases = table();
  for (Case& one : cases) {
    if (one.id == flip) one.bits ^= 1;
  }
  return cases;
}

using Group = std::pair<std::string, std::vector<const Case*>>;

/// The cases that the instruction can run, those of one id together.
std::vector<Group> groups(const std::vector<Case>& cases, const std::function<bool(const Case&)>& wanted) {
  std::vector<Group> found;
  for (const Case& one : cases) {
    if (!wanted(one)) continue;
    const auto same = [&one](const Group& group) { return group.first == one.id; };
    auto group = std::find_if(found.begin(), found.end(), same);
    if (group == found.end()) group = found.insert(found.end(), {one.id, {}});
    group->second.push_back(&one);
  }
  return found;
}

/// The literals against the model: what holds on no GPU at all is a mistake in one of the two.
std::vector<Row> check_table(const std::vector<Case>& cases) {
  std::vector<Row> rows;
  for (const auto& [id, group] : groups(cases, [](const Case&) { return true; })) {
    std::vector<std::uint32_t> expected, predicted(group.size());
    for (const Case* one : group) expected.push_back(one->bits);
    in_parallel(static_cast<int>(group.size()), [&, &members = group](int i) {
      const Case& one = *members[static_cast<std::size_t>(i)];
      const Instruction instruction{Form::wgmma_ss, one.operand, one.operand, one.out};
      predicted[static_cast<std::size_t>(i)] = predict(core_of(instruction, one.unit), instruction, one);
    });
    const OutDtype out = group[0]->out;
    rows.push_back({id, summary(expected, out), summary(predicted, out), expected == predicted});
  }
  return rows;
}

void probe(const Machine& machine, const Instruction& instruction, Accumulate unit, const std::vector<Case>& cases,
           int tiles, std::vector<Row>& rows) {
  std::fprintf(stderr, "%s\n", name(instruction).c_str());
  rows.push_back(layout(machine, instruction));
  if (!rows.back().held) return;  // what it computes says nothing about arithmetic
  for (const auto& [id, group] : groups(cases, [&](const Case& one) { return fits(instruction, one); })) {
    rows.push_back(measure(machine, instruction, unit, id, group));
  }
  for (int family = 0; family < kFamilies; ++family) {
    const bool chain = static_cast<Family>(family) == Family::chain;
    rows.push_back(compare(machine, instruction, unit, static_cast<Family>(family), chain ? tiles / 8 + 1 : tiles));
  }
}

/// The model, or what the options make of it, as a machine.
Machine stand_in(const Options& options) {
  return [options](const Batch& batch) {
    TensorCore core = core_of(batch.instruction, unit_of(batch.instruction.form, options.capability));
    if (options.block != 0) core.block = options.block;
    if (options.fraction != 0) core.fraction_bits = options.fraction;
    return predict(core, batch);
  };
}

int run(const Options& options) {
  const std::vector<Case> cases = table_with(options.flip);
  std::vector<Row> rows = check_table(cases);
  const auto all_held = [&rows] {
    return std::all_of(rows.begin(), rows.end(), [](const Row& row) { return row.held; });
  };
  if (options.mode == Mode::predict || !all_held()) {
    print({{"mode", "the table against the model"}}, rows);
    return all_held() ? 0 : 1;
  }
  rows.clear();
  Capability capability = options.capability;
  Machine machine = stand_in(options);
  Fields fields{{"mode", "the model in the place of a GPU"}};
#if defined(__CUDACC__)
  if (options.mode == Mode::measure) {
    capability = open_device(fields);
    machine = run_on_device;
  }
#else
  if (options.mode == Mode::measure) {
    std::fprintf(stderr, "built without CUDA: only --predict and --stand-in\n");
    return 2;
  }
#endif
  for (const Instruction& instruction : instructions(capability)) {
    if (!options.form.empty() && options.form != name(instruction.form)) continue;
    try {
      probe(machine, instruction, unit_of(instruction.form, capability), cases, options.tiles, rows);
    } catch (const std::exception& error) {  // the device is lost; what was measured is not
      rows.push_back({"error " + name(instruction), "results", error.what(), false});
      break;
    }
  }
  print(fields, rows);
  return all_held() ? 0 : 1;
}

}  // namespace
}  // namespace probes

int main(int count, char** words) {
  try {
    return probes::run(probes::parse(count, words));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
