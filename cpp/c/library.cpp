// SPDX-License-Identifier: Apache-2.0
// What the library tells of itself, and the errors of its calls. [ABI-ERRORS] [ABI-VERSION] [ABI-THREADS]
#include <cstdio>
#include <cstring>
#include <exception>

#include "c/op.h"
#include "fp8ref/cpu.h"
#include "fp8ref/errors.h"

namespace fp8ref::c {
namespace {

thread_local char last_error[4096] = "";  // no allocation: it must also hold that there is no memory

void remember(const char* name, const char* message) noexcept {
  const std::size_t length = std::strlen(name);
  const bool named = std::strncmp(message, name, length) == 0 && message[length] == ':';
  std::snprintf(last_error, sizeof last_error, "%s%s%s", named ? "" : name, named ? "" : ": ", message);
}

}  // namespace

void clear_error() noexcept { last_error[0] = '\0'; }

fp8ref_status failed(const char* name) noexcept {
  try {
    throw;
  } catch (const OpError& error) {
    remember(name, error.what());
    return FP8REF_INVALID_ARGUMENT;
  } catch (const std::exception& error) {
    remember(name, error.what());
  } catch (...) {
    remember(name, "unknown error");
  }
  return FP8REF_ERROR;
}

}  // namespace fp8ref::c

int32_t fp8ref_abi_version(void) { return FP8REF_ABI_VERSION; }

const char* fp8ref_version(void) { return FP8REF_VERSION; }

const char* fp8ref_last_error(void) { return fp8ref::c::last_error; }

fp8ref_status fp8ref_set_threads(int32_t n) {
  return fp8ref::c::call("set_threads", [&](const fp8ref::c::Op&) { fp8ref::cpu::set_threads(n); });
}
