// SPDX-License-Identifier: Apache-2.0
// scaled_mm and grouped_mm on a CUDA device (spec/scaled_mm.md, spec/grouped_mm.md): which kernel does what.
#include "cuda/chains.h"
#include "cuda/exact.h"
#include "cuda/launch.h"
#include "cuda/wgmma.h"
#include "fp8ref/cuda.h"

namespace fp8ref::cuda {
namespace {

// Of the kernels for E4M3 codes, by instructions and bytes counted (none measured yet). In units of the time in which
// the weights are read once, m rows cost about 1.2 ceil(m / 16) by FP16, 11 + 8 ceil(m / 128) by INT8 (the planes are
// written and read), and 18 ceil(m / 128) by FP64.
constexpr std::int64_t kFewRows = 256;
constexpr std::int64_t kMostWorkspace = std::int64_t{8} << 30;

void accumulate_exactly(const GroupedMmArgs& args, Stream stream) {
  const ScaledMmArgs& all = args.all;
  const bool e4m3 = all.a_type == Operand::e4m3 && all.b_type == Operand::e4m3;
  if (!e4m3 || all.k > kMostDepth) return scaled_mm_scalar(args, stream);
  if (all.scales == Scales::blocks) return scaled_mm_blocks(args, stream);
  if (all.m <= kFewRows * args.experts) return scaled_mm_f16(args, stream);
  if (s8_workspace(args) <= kMostWorkspace) return scaled_mm_s8(args, stream);
  scaled_mm_f64(args, stream);
}

/// The accumulators of tensor cores: Hopper's own where this is one, else emulated.
void accumulate_by_unit(const GroupedMmArgs& args, Stream stream) {
  const DeviceFacts facts = device_facts();
  if (wgmma(args, wgmma_table(), facts.capability, facts.multiprocessors, stream)) return;
  if (args.offsets == nullptr) return chain_scaled_mm(args.all, stream);
  chain_grouped_mm(args, stream);
}

void run(const GroupedMmArgs& args, Stream stream) {
  if (args.all.m == 0 || args.all.n == 0) return;
  if (args.all.accumulate == Accumulate::exact) return accumulate_exactly(args, stream);
  accumulate_by_unit(args, stream);
}

}  // namespace

void scaled_mm(const ScaledMmArgs& args, Stream stream) { run({args, 1, nullptr, 0}, stream); }

void grouped_mm(const GroupedMmArgs& args, Stream stream) {
  if (args.experts > 0) run(args, stream);
}

}  // namespace fp8ref::cuda
