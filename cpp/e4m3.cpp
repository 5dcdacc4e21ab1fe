// SPDX-License-Identifier: Apache-2.0
// encode and decode over arrays (spec/e4m3.md).
#include "fp8ref/e4m3.h"

#include "fp8ref/cpu.h"
#include "parallel.h"

namespace fp8ref::cpu {
namespace {

constexpr std::int64_t kGrain = 1 << 15;

/// The policy as a constant, so that the loop has no branch.
template <Overflow overflow, class T>
void encode_all(const T* x, std::size_t n, e4m3* codes) {
  parallel_for(static_cast<std::int64_t>(n), kGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) codes[i] = fp8ref::encode(x[i], overflow);
  });
}

}  // namespace

template <class T>
void encode(const T* x, std::size_t n, Overflow overflow, e4m3* codes) {
  if (overflow == Overflow::nan) {
    encode_all<Overflow::nan>(x, n, codes);
  } else {
    encode_all<Overflow::saturate>(x, n, codes);
  }
}

template void encode<float>(const float*, std::size_t, Overflow, e4m3*);
template void encode<double>(const double*, std::size_t, Overflow, e4m3*);
template void encode<bf16>(const bf16*, std::size_t, Overflow, e4m3*);
template void encode<fp16>(const fp16*, std::size_t, Overflow, e4m3*);

void decode(const e4m3* codes, std::size_t n, float* x) {
  parallel_for(static_cast<std::int64_t>(n), kGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) x[i] = fp8ref::decode(codes[i]);
  });
}

}  // namespace fp8ref::cpu
