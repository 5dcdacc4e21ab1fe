// SPDX-License-Identifier: Apache-2.0
// The library from outside: an operation, and the typed error of a checkpoint that is not there.
#include <fp8ref/cpu.h>
#include <fp8ref/errors.h>
#include <fp8ref/llama.h>

#include <cstdio>

int main() {
  const fp8ref::e4m3 ones[4] = {{0x38}, {0x38}, {0x38}, {0x38}};
  const float scale = 0.5f;
  float out = 0;
  fp8ref::cpu::scaled_mm({.a = ones,
                          .b = ones,
                          .m = 1,
                          .n = 1,
                          .k = 4,
                          .a_scale = {&scale, 0},
                          .b_scale = {&scale, 0},
                          .bias = nullptr,
                          .accumulate = fp8ref::Accumulate::exact,
                          .epilogue = fp8ref::Epilogue::a_b,
                          .out_dtype = fp8ref::OutDtype::float32,
                          .out = &out});
  if (out != 1.0f) return 1;
  try {
    fp8ref::Llama::load("nowhere", fp8ref::Accumulate::exact);
  } catch (const fp8ref::CheckpointError& error) {
    std::printf("1 x 1 = %g; %s\n", static_cast<double>(out), error.what());
    return 0;
  }
  return 1;
}
