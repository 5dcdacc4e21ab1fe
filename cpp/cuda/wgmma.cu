// SPDX-License-Identifier: Apache-2.0
// Which product a wgmma kernel can do, what it is called with, and the two small kernels around it: the table of the
// experts before, the output types that the kernels do not have after.
#include <iterator>

#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/wgmma.h"
#include "cuda/workspace.h"
#include "fp8ref/e4m3.h"
#include "fp8ref/round.h"

namespace fp8ref::cuda {
namespace {

constexpr std::int64_t kAligned = 16;             // bytes, of what the tensor copy engine loads and stores
constexpr std::int64_t kMost = 0x7FFFFFFF - 255;  // rows, columns and K, and the tile beyond them, are of type int
constexpr std::int64_t kFewRows = 32;             // up to here a tile of 128 rows would be mostly empty
constexpr std::int64_t kTileRows = 128;
constexpr std::int64_t kResults = 16 << 20;  // fp32 results on their way to another type, at a time
constexpr int kThreads = 256;

#if defined(FP8REF_WGMMA)
constexpr auto kChain = Accumulate::sm90_wgmma, kPromoted = Accumulate::sm90_wgmma_promoted;
constexpr auto kNone = Grouping::none, kExperts = Grouping::experts;
constexpr auto kE4M3 = Operand::e4m3, kE5M2 = Operand::e5m2;
constexpr auto kBf16 = OutDtype::bfloat16, kF32 = OutDtype::float32;
constexpr WgmmaEntry kEntries[] = {
    {kChain, kNone, kE4M3, kE4M3, kBf16, kFewRows, wgmma_few_rows},
    {kChain, kNone, kE4M3, kE4M3, kBf16, kMost, wgmma_bf16},
    {kChain, kNone, kE4M3, kE4M3, kF32, kMost, wgmma_f32},
    {kChain, kNone, kE4M3, kE5M2, kF32, kMost, wgmma_e4m3_e5m2},
    {kChain, kNone, kE5M2, kE4M3, kF32, kMost, wgmma_e5m2_e4m3},
    {kChain, kNone, kE5M2, kE5M2, kF32, kMost, wgmma_e5m2_e5m2},
    {kChain, kExperts, kE4M3, kE4M3, kBf16, kMost, wgmma_grouped},
    {kPromoted, kNone, kE4M3, kE4M3, kBf16, kFewRows, wgmma_promoted_few_rows},
    {kPromoted, kNone, kE4M3, kE4M3, kBf16, kMost, wgmma_promoted_bf16},
    {kPromoted, kNone, kE4M3, kE4M3, kF32, kMost, wgmma_promoted_f32},
    {kPromoted, kNone, kE4M3, kE5M2, kF32, kMost, wgmma_promoted_e4m3_e5m2},
    {kPromoted, kNone, kE5M2, kE4M3, kF32, kMost, wgmma_promoted_e5m2_e4m3},
    {kPromoted, kNone, kE5M2, kE5M2, kF32, kMost, wgmma_promoted_e5m2_e5m2},
    {kPromoted, kExperts, kE4M3, kE4M3, kBf16, kMost, wgmma_promoted_grouped},
};
#endif

bool aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % kAligned == 0; }

std::int64_t size_of(OutDtype type) { return type == OutDtype::float32 ? 4 : type == OutDtype::float8_e4m3fn ? 1 : 2; }

/// Whether every row of out begins where a kernel can store it.
bool rows_aligned(const ScaledMmArgs& args) {
  return aligned(args.out) && args.n * size_of(args.out_dtype) % kAligned == 0;
}

/// Whether the epilogue of the kernels has these scales, and each output one accumulator.
bool epilogue_fits(const ScaledMmArgs& args) {
  const bool scales_last =
      args.epilogue == Epilogue::a_b || args.epilogue == Epilogue::b_a || args.epilogue == Epilogue::ab;
  const bool of_rows = args.a_scale.stride <= 1 && args.b_scale.stride <= 1;
  return args.scales == Scales::values && of_rows && scales_last && args.split_k == 1;
}

bool operands_fit(const ScaledMmArgs& args) {
  return aligned(args.a) && aligned(args.b) && args.k > 0 && args.k % kAligned == 0 && args.m <= kMost &&
         args.n <= kMost && args.k <= kMost;
}

const WgmmaEntry* find(const WgmmaTable& table, const GroupedMmArgs& args, OutDtype out_dtype) {
  const Grouping grouping = args.offsets == nullptr ? Grouping::none : Grouping::experts;
  for (const WgmmaEntry* entry = table.entries; entry != table.entries + table.count; ++entry) {
    if (entry->accumulate == args.all.accumulate && entry->grouping == grouping && entry->out_dtype == out_dtype &&
        entry->a_type == args.all.a_type && entry->b_type == args.all.b_type && args.all.m <= entry->most_rows) {
      return entry;
    }
  }
  return nullptr;
}

WgmmaCall call_of(const ScaledMmArgs& args, const char* op, int multiprocessors) {
  return {op,           args.a,    args.b,        args.m,   args.n, args.k,          args.a_scale,
          args.b_scale, args.bias, args.epilogue, args.out, args.n, multiprocessors, {}};
}

// ---- groups ---------------------------------------------------------------------------------------------------------
constexpr std::int64_t kWordsPerExpert = 10;  // of 8 bytes; the shape takes two

/// The arrays of the groups in `words` of memory.
WgmmaGroups groups_in(std::int64_t* words, std::int64_t experts) {
  const auto array = [&](std::int64_t index) { return words + index * experts; };
  WgmmaGroups groups;
  groups.experts = experts;
  groups.a = reinterpret_cast<const void**>(array(0));
  groups.b = reinterpret_cast<const void**>(array(1));
  groups.out = reinterpret_cast<void**>(array(2));
  groups.a_scale = reinterpret_cast<const float**>(array(3));
  groups.b_scale = reinterpret_cast<const float**>(array(4));
  groups.bias = reinterpret_cast<const float**>(array(5));
  groups.code_stride = array(6);
  groups.out_stride = array(7);
  groups.shapes = reinterpret_cast<std::int32_t*>(array(8));
  return groups;
}

__global__ void groups_kernel(GroupedMmArgs args, std::int64_t out_bytes, WgmmaGroups groups) {
  const ScaledMmArgs& all = args.all;
  for (std::int64_t e = grid_thread(); e < args.experts; e += grid_threads()) {
    const std::int64_t row = args.offsets[e];
    groups.shapes[3 * e] = static_cast<std::int32_t>(args.offsets[e + 1] - row);
    groups.shapes[3 * e + 1] = static_cast<std::int32_t>(all.n);
    groups.shapes[3 * e + 2] = static_cast<std::int32_t>(all.k);
    groups.a[e] = static_cast<const std::uint8_t*>(all.a) + row * all.k;  // codes are bytes
    groups.b[e] = static_cast<const std::uint8_t*>(all.b) + e * all.n * all.k;
    groups.out[e] = static_cast<std::uint8_t*>(all.out) + row * all.n * out_bytes;
    groups.a_scale[e] = all.a_scale.of_row(row);
    groups.b_scale[e] = all.b_scale.data + e * args.b_scale_stride;
    groups.bias[e] = all.bias == nullptr ? nullptr : all.bias + e * all.n;
    groups.code_stride[e] = all.k;
    groups.out_stride[e] = all.n;
  }
}

void queue_groups(const GroupedMmArgs& args, const WgmmaEntry& entry, int multiprocessors, cudaStream_t stream) {
  const char* op = "grouped_mm";
  const Workspace<std::int64_t> words(op, kWordsPerExpert * args.experts, stream);
  WgmmaCall call = call_of(args.all, op, multiprocessors);
  call.groups = groups_in(words.get(), args.experts);
  launch(op, groups_kernel, blocks_for(args.experts, kThreads), kThreads, 0, stream, args, size_of(args.all.out_dtype),
         call.groups);
  entry.kernel(call, stream);
}

// ---- outputs that no kernel stores ----------------------------------------------------------------------------------
/// RN_out of z [MM-OUT] [MM-OUT-E4M3].
__device__ void store(const ScaledMmArgs& args, std::int64_t at, float z) {
  switch (args.out_dtype) {
    case OutDtype::float32:
      static_cast<float*>(args.out)[at] = z;
      return;
    case OutDtype::bfloat16:
      static_cast<bf16*>(args.out)[at] = rnbf(z);
      return;
    case OutDtype::float16:
      static_cast<fp16*>(args.out)[at] = rn16(z);
      return;
    case OutDtype::float8_e4m3fn:
      static_cast<e4m3*>(args.out)[at] = fp8ref::encode(mul32(z, args.out_scale), args.overflow);
      return;
  }
}

/// Rows first .. first + rows - 1 of out from z; a block takes one row after another.
__global__ void round_kernel(ScaledMmArgs args, std::int64_t first, std::int64_t rows, const float* z,
                             std::int64_t z_stride) {
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    for (std::int64_t column = threadIdx.x; column < args.n; column += blockDim.x) {
      store(args, (first + row) * args.n + column, z[row * z_stride + column]);
    }
  }
}

/// scaled_mm to float32 in rows that a kernel can store, and from there to out.
void queue_rounded(const ScaledMmArgs& args, const WgmmaEntry& entry, int multiprocessors, cudaStream_t stream) {
  const char* op = "scaled_mm";
  const std::int64_t stride = (args.n + 3) / 4 * 4;  // floats of 16 bytes
  const std::int64_t fitting = kResults / stride / kTileRows * kTileRows;
  const std::int64_t most = fitting < kTileRows ? kTileRows : fitting, at_once = args.m < most ? args.m : most;
  const Workspace<float> z(op, at_once * stride, stream);
  for (std::int64_t first = 0; first < args.m; first += at_once) {
    WgmmaCall call = call_of(args, op, multiprocessors);
    call.m = args.m - first < at_once ? args.m - first : at_once;
    call.a = static_cast<const std::uint8_t*>(args.a) + first * args.k;
    call.a_scale.data = args.a_scale.of_row(first);
    call.out = z.get();
    call.out_stride = stride;
    entry.kernel(call, stream);
    launch(op, round_kernel, blocks_for(call.m, 1), kThreads, 0, stream, args, first, call.m, z.get(), stride);
  }
}

}  // namespace

WgmmaTable wgmma_table() {
#if defined(FP8REF_WGMMA)
  return {kEntries, static_cast<int>(std::size(kEntries))};
#else
  return {nullptr, 0};
#endif
}

bool wgmma(const GroupedMmArgs& args, const WgmmaTable& table, int capability, int multiprocessors,
           cudaStream_t stream) {
  const ScaledMmArgs& all = args.all;
  if (capability != 90 || !epilogue_fits(all) || !operands_fit(all)) return false;
  const WgmmaEntry* direct = rows_aligned(all) ? find(table, args, all.out_dtype) : nullptr;
  const WgmmaEntry* rounded = args.offsets == nullptr ? find(table, args, OutDtype::float32) : nullptr;
  if (direct == nullptr && rounded == nullptr) return false;
  if (all.m == 0 || all.n == 0) return true;
  if (direct == nullptr) {
    queue_rounded(all, *rounded, multiprocessors, stream);
  } else if (args.offsets != nullptr) {
    queue_groups(args, *direct, multiprocessors, stream);
  } else {
    direct->kernel(call_of(all, "scaled_mm", multiprocessors), stream);
  }
  return true;
}

}  // namespace fp8ref::cuda
