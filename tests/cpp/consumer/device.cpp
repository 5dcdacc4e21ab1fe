// SPDX-License-Identifier: Apache-2.0
// The CUDA part from outside: a device, or a typed error that says what is missing.
#include <fp8ref/cuda.h>
#include <fp8ref/errors.h>

#include <cstdio>

int main() {
  try {
    std::printf("%s\n", fp8ref::cuda::device_info().name.c_str());
  } catch (const fp8ref::DeviceError& error) {
    std::printf("%s\n", error.what());
  }
  return 0;
}
