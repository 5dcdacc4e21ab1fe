// SPDX-License-Identifier: Apache-2.0
// Scales, biases, offsets and positions of narrower types, as the operations take them. [MM-SCALES]
#include "cuda/device.h"
#include "cuda/interop.h"
#include "cuda/launch.h"
#include "fp8ref/errors.h"
#include "fp8ref/round.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256;

struct E8m0 {
  std::uint8_t code;
};

FP8REF_HD float float32_of(bf16 x) { return fp8ref::widen(x); }
FP8REF_HD float float32_of(fp16 x) { return fp8ref::widen(x); }
/// 2^(code - 127), of which code 0 is subnormal; 255 is NaN. [MM-SCALES]
FP8REF_HD float float32_of(E8m0 x) {
  const std::uint32_t code = x.code;
  return bit_cast<float>(code == 255 ? 0x7FC00000u : code == 0 ? 0x00400000u : code << 23);
}

template <class T>
__global__ void to_float32_kernel(const T* from, std::int64_t n, float* to) {
  for (std::int64_t i = grid_thread(); i < n; i += grid_threads()) to[i] = float32_of(from[i]);
}

template <class T, class To>
__global__ void convert_kernel(const T* from, std::int64_t n, To* to) {
  for (std::int64_t i = grid_thread(); i < n; i += grid_threads()) to[i] = static_cast<To>(from[i]);
}

template <class T>
void to_float32(const void* from, std::int64_t n, void* to, Stream stream) {
  launch("widen", to_float32_kernel<T>, blocks_for(n, kThreads), kThreads, 0, stream, static_cast<const T*>(from), n,
         static_cast<float*>(to));
}

template <class T, class To>
void convert(const void* from, std::int64_t n, void* to, Stream stream) {
  launch("widen", convert_kernel<T, To>, blocks_for(n, kThreads), kThreads, 0, stream, static_cast<const T*>(from), n,
         static_cast<To*>(to));
}

using Widen = void (*)(const void*, std::int64_t, void*, Stream);

struct Pair {
  Number from, to;
  Widen widen;
};

constexpr Pair kPairs[] = {
    {Number::bfloat16, Number::float32, to_float32<bf16>},
    {Number::float16, Number::float32, to_float32<fp16>},
    {Number::e8m0, Number::float32, to_float32<E8m0>},
    {Number::int8, Number::int64, convert<std::int8_t, std::int64_t>},
    {Number::uint8, Number::int64, convert<std::uint8_t, std::int64_t>},
    {Number::int16, Number::int64, convert<std::int16_t, std::int64_t>},
    {Number::uint16, Number::int64, convert<std::uint16_t, std::int64_t>},
    {Number::int32, Number::int64, convert<std::int32_t, std::int64_t>},
    {Number::uint32, Number::int64, convert<std::uint32_t, std::int64_t>},
    {Number::uint64, Number::int64, convert<std::uint64_t, std::int64_t>},
    {Number::int8, Number::float64, convert<std::int8_t, double>},
    {Number::uint8, Number::float64, convert<std::uint8_t, double>},
    {Number::int16, Number::float64, convert<std::int16_t, double>},
    {Number::uint16, Number::float64, convert<std::uint16_t, double>},
    {Number::int32, Number::float64, convert<std::int32_t, double>},
    {Number::uint32, Number::float64, convert<std::uint32_t, double>},
    {Number::int64, Number::float64, convert<std::int64_t, double>},
    {Number::uint64, Number::float64, convert<std::uint64_t, double>},
};

}  // namespace

void widen(const void* from, Number from_type, std::size_t n, void* to, Number to_type, Stream stream) {
  for (const Pair& pair : kPairs) {
    if (pair.from != from_type || pair.to != to_type) continue;
    pair.widen(from, static_cast<std::int64_t>(n), to, stream);
    return;
  }
  throw OpError("widen: these types do not widen without rounding");
}

}  // namespace fp8ref::cuda
