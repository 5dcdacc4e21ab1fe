// SPDX-License-Identifier: Apache-2.0
// The functions of tensor_core_ptx.h for the SIMT emulator: the fragments as documented there, gathered from the lanes.
// The machine emulated is an sm_90. Internal; cuda/device.h includes it.
#pragma once

#include <cfenv>
#include <cmath>
#include <cstring>

#include "fp8ref/mma.h"

namespace fp8ref::cuda {

inline double fma_toward_zero(double a, double b, double c) {
  std::fesetround(FE_TOWARDZERO);
  volatile double x = a, y = b, z = c;  // or the compiler may compute it in another mode
  volatile double result = std::fma(x, y, z);
  std::fesetround(FE_TONEAREST);
  return result;
}
inline float fma_toward_zero(float a, float b, float c) {
  std::fesetround(FE_TOWARDZERO);
  volatile float x = a, y = b, z = c;
  volatile float result = std::fmaf(x, y, z);
  std::fesetround(FE_TONEAREST);
  return result;
}

namespace fragments {

/// The operands of a warp, row of a and column of b for each result register of this lane.
template <class A, class B>
struct Pair {
  A a[4];
  B b[2];
};

/// Elements of E packed in the registers of a lane: `per` in each.
template <class E, class R>
E element(const R& reg, int index) {
  E value;
  std::memcpy(&value, reinterpret_cast<const unsigned char*>(&reg) + static_cast<std::size_t>(index) * sizeof(E),
              sizeof(E));
  return value;
}

/// body(c register, row elements, column elements) with the k elements of both, in the order of k.
template <class E, int depth, class A, class B, class Body>
void for_results(const A (&a)[4], const B (&b)[2], const Body& body) {
  constexpr int per = static_cast<int>(sizeof(A) / sizeof(E)), half = 4 * per;
  static_assert(depth == 2 * half);
  Pair<A, B> mine;
  std::memcpy(mine.a, a, sizeof a);
  std::memcpy(mine.b, b, sizeof b);
  const Pair<A, B>* all = simt::warp_values(mine);
  const int g = simt::lane() / 4, t = simt::lane() % 4;
  for (int i = 0; i < 4; ++i) {
    E row[depth], column[depth];
    for (int k = 0; k < depth; ++k) {
      const int quad = k % half / per, part = k / half;
      row[k] = element<E>(all[4 * g + quad].a[2 * part + i / 2], k % per);
      column[k] = element<E>(all[4 * (2 * t + i % 2) + quad].b[part], k % per);
    }
    body(i, row, column);
  }
}

}  // namespace fragments

inline void mma_f64(double (&c)[4], const double (&a)[4], const double (&b)[2]) {
  fragments::for_results<double, 8>(a, b, [&](int i, const double* row, const double* column) {
    for (int k = 0; k < 8; ++k) c[i] = std::fma(row[k], column[k], c[i]);
  });
}

inline void mma_s8(std::int32_t (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  fragments::for_results<std::int8_t, 32>(a, b, [&](int i, const std::int8_t* row, const std::int8_t* column) {
    std::int64_t sum = c[i];
    for (int k = 0; k < 32; ++k) sum += row[k] * column[k];
    c[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(sum));
  });
}

template <class E>
void mma_16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  constexpr TensorCore core = tensor_core(Accumulate::sm90_wgmma, Encoding<E>::kClass, OutDtype::float32);
  fragments::for_results<E, 16>(
      a, b, [&](int i, const E* row, const E* column) { c[i] = tensor_core_step(core, row, column, 16, c[i]); });
}
inline void mma_bf16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) { mma_16<bf16>(c, a, b); }
inline void mma_fp16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) { mma_16<fp16>(c, a, b); }

template <class Combine>
std::uint32_t combine_fp16(std::uint32_t x, std::uint32_t y, const Combine& combine) {
  std::uint32_t result = 0;
  for (int half = 0; half < 32; half += 16) {
    const auto of = [&](std::uint32_t pair) { return widen(fp16{static_cast<std::uint16_t>(pair >> half)}); };
    result |= static_cast<std::uint32_t>(rn16(combine(double{of(x)}, double{of(y)})).bits) << half;
  }
  return result;
}
inline std::uint32_t add_fp16(std::uint32_t x, std::uint32_t y) {
  return combine_fp16(x, y, [](double a, double b) { return a + b; });
}
inline std::uint32_t sub_fp16(std::uint32_t x, std::uint32_t y) {
  return combine_fp16(x, y, [](double a, double b) { return a - b; });
}
inline std::uint32_t fp16_of_e4m3(std::uint32_t codes) {
  const std::uint32_t low = to_fp16(e4m3{static_cast<std::uint8_t>(codes)}).bits;
  return low | static_cast<std::uint32_t>(to_fp16(e4m3{static_cast<std::uint8_t>(codes >> 8)}).bits) << 16;
}

inline void load_transposed(std::uint32_t (&r)[4], const void* row) {
  const void* const* rows = simt::warp_values(row);
  const int g = simt::lane() / 4, t = simt::lane() % 4;
  for (int j = 0; j < 4; ++j) {
    const auto* low = static_cast<const std::uint16_t*>(rows[8 * j + 2 * t]);
    const auto* high = static_cast<const std::uint16_t*>(rows[8 * j + 2 * t + 1]);
    r[j] = low[g] | static_cast<std::uint32_t>(high[g]) << 16;
  }
}

inline void copy_async(void* shared, const void* global) { simt::copy_later(shared, global); }
inline void commit_copies() { simt::commit_copies(); }
template <int most>
void wait_copies() {
  simt::wait_copies(most);
}

}  // namespace fp8ref::cuda
