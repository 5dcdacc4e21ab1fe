// SPDX-License-Identifier: Apache-2.0
// The floating-point environment of the contract [ROUND-ENV]: nearest even, no flush to zero, no denormals-are-zero.
#pragma once

#include <cfenv>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace fp8ref::cpu {

/// Sets the contract's environment for the life of the object, then restores the caller's, exception flags included.
class FpEnv {
 public:
  FpEnv() {
    std::feholdexcept(&saved_);
    std::fesetround(FE_TONEAREST);
#if defined(__SSE2__)
    saved_mxcsr_ = _mm_getcsr();
    _mm_setcsr(0x1F80);  // all exceptions masked, nearest even, FTZ and DAZ off
#elif defined(__aarch64__)
    asm volatile("mrs %0, fpcr" : "=r"(saved_fpcr_));
    asm volatile("msr fpcr, %0" ::"r"(0ULL));
#endif
  }
  ~FpEnv() {
#if defined(__SSE2__)
    _mm_setcsr(saved_mxcsr_);
#elif defined(__aarch64__)
    asm volatile("msr fpcr, %0" ::"r"(saved_fpcr_));
#endif
    std::fesetenv(&saved_);
  }
  FpEnv(const FpEnv&) = delete;
  FpEnv& operator=(const FpEnv&) = delete;

 private:
  std::fenv_t saved_;
#if defined(__SSE2__)
  unsigned saved_mxcsr_;
#elif defined(__aarch64__)
  unsigned long long saved_fpcr_;
#endif
};

}  // namespace fp8ref::cpu
