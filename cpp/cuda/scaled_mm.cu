// SPDX-License-Identifier: Apache-2.0
// scaled_mm and grouped_mm on a CUDA device (spec/scaled_mm.md, spec/grouped_mm.md): which kernel does what.
#include "cuda/exact.h"
#include "cuda/launch.h"
#include "cuda/scaled_mm.h"
#include "cuda/wgmma.h"
#include "fp8ref/cuda.h"

namespace fp8ref::cuda {
namespace {

void accumulate_exactly(const GroupedMmArgs& args, Stream stream) { scaled_mm_scalar(args, stream); }

/// The accumulators of tensor cores.
void accumulate_by_unit(const GroupedMmArgs& args, Stream stream) {
  const DeviceFacts facts = device_facts();
  if (wgmma(args, wgmma_table(), facts.capability, facts.multiprocessors, stream)) return;  // Hopper's own
  // Units emulated on CUDA cores belong here (cuda/chains.h).
  scaled_mm_scalar(args, stream);
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
