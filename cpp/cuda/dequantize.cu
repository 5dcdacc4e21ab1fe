// SPDX-License-Identifier: Apache-2.0
// dequantize on a CUDA device (spec/quantize.md): out[i][j] = RN_out(RN32(code * scale)).
#include "cuda/launch.h"
#include "cuda/packed.h"
#include "fp8ref/cuda.h"
#include "fp8ref/quantize.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ void convert(float value, float& out) { out = value; }
__device__ __forceinline__ void convert(float value, bf16& out) { out = rnbf(value); }
__device__ __forceinline__ void convert(float value, fp16& out) {
  out = is_nan(value) ? fp16{kNan16} : low_half<fp16>(round2<fp16>(value, 0.0f));
}
__device__ __forceinline__ void convert(float value, e4m3& out) {
  out.bits = static_cast<std::uint8_t>(encode2(value, 0.0f));
}

/// How a block lies over the matrix: threads_across threads on each of its rows, each `width` elements at a time.
struct Layout {
  std::int64_t rows, cols;
  int threads_across, rows_per_block;
};

/// A multiple of `width` elements shares a scale.
template <int width, class Out>
__global__ void __launch_bounds__(kThreads)
    dequantize_kernel(const e4m3* codes, const Layout layout, const TileScales scales, Out* out) {
  const int thread = static_cast<int>(threadIdx.x), part = thread / layout.threads_across;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * layout.rows_per_block + part;
  if (part >= layout.rows_per_block || row >= layout.rows) return;
  const std::int64_t across = (layout.cols + scales.tile_cols - 1) / scales.tile_cols;
  const float* scale = scales.data + row / scales.tile_rows * across;
  constexpr int kOutWidth = 16 / sizeof(Out) < width ? 16 / sizeof(Out) : width;
  for (std::int64_t col = thread % layout.threads_across * width; col < layout.cols;
       col += layout.threads_across * width) {
    const std::int64_t at = row * layout.cols + col;
    const Vector<e4m3, width> vector = load<width>(codes + at);
    const float factor = across == 1 ? scale[0] : scale[col / scales.tile_cols];
    Vector<Out, kOutWidth> results[width / kOutWidth];
#pragma unroll
    for (int i = 0; i < width; ++i) {
      convert(fp8ref::dequantize(vector.item[i], factor), results[i / kOutWidth].item[i % kOutWidth]);
    }
#pragma unroll
    for (int i = 0; i < width / kOutWidth; ++i) store(results[i], out + at + i * kOutWidth);
  }
}

template <class Out>
void dequantize_to(const e4m3* codes, std::int64_t rows, std::int64_t cols, const TileScales& scales, Out* out,
                   cudaStream_t stream) {
  constexpr int kWidth = 8;
  const bool tiles_fit = scales.tile_cols % kWidth == 0 || scales.tile_cols >= cols;
  const bool vectors = cols % kWidth == 0 && tiles_fit && aligned(kWidth, codes) && aligned(16, out);
  const std::int64_t items = vectors ? cols / kWidth : cols;
  const int across = items < kThreads ? static_cast<int>(items) : kThreads, per_block = kThreads / across;
  launch("dequantize", vectors ? dequantize_kernel<kWidth, Out> : dequantize_kernel<1, Out>,
         static_cast<unsigned>((rows + per_block - 1) / per_block), kThreads, 0, stream, codes,
         Layout{rows, cols, across, per_block}, scales, out);
}

}  // namespace

void dequantize(const e4m3* codes, std::int64_t rows, std::int64_t cols, const TileScales& scales, OutDtype out_dtype,
                void* out, Stream stream) {
  if (rows == 0 || cols == 0) return;
  switch (out_dtype) {
    case OutDtype::float32:
      return dequantize_to(codes, rows, cols, scales, static_cast<float*>(out), stream);
    case OutDtype::bfloat16:
      return dequantize_to(codes, rows, cols, scales, static_cast<bf16*>(out), stream);
    case OutDtype::float16:
      return dequantize_to(codes, rows, cols, scales, static_cast<fp16*>(out), stream);
    case OutDtype::float8_e4m3fn:
      return dequantize_to(codes, rows, cols, scales, static_cast<e4m3*>(out), stream);
  }
}

}  // namespace fp8ref::cuda
