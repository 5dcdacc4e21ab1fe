// SPDX-License-Identifier: Apache-2.0
// libfp8ref from outside: descriptors and policies that have no meaning, errors by thread, hostile environments. What
// its functions compute is checked by library_check.py. [ABI-CHECKS] [ABI-ERRORS] [ABI-THREADS]
#include <cfenv>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "fp8ref/fp8ref.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace {

using fp8ref::test::check;

/// A tensor with its shape.
struct Tensor {
  std::vector<std::int64_t> shape;
  fp8ref_tensor descriptor;

  Tensor(void* data, fp8ref_dtype dtype, std::vector<std::int64_t> sizes)
      : shape(std::move(sizes)), descriptor{data, shape.data(), static_cast<std::int32_t>(shape.size()), dtype} {}
  Tensor(const Tensor&) = delete;
  fp8ref_tensor* get() { return &descriptor; }
};

void refused(const char* what, fp8ref_status status, const std::string& part) {
  const std::string text = fp8ref_last_error();
  check(status == FP8REF_INVALID_ARGUMENT, std::string(what) + ": status " + std::to_string(status));
  check(text.find(part) != std::string::npos, std::string(what) + ": message without '" + part + "': " + text);
}

std::uint16_t ones[4] = {0x3F80, 0x3F80, 0x3F80, 0x3F80};
std::uint16_t result[4] = {};

void descriptors() {
  Tensor x(ones, FP8REF_BFLOAT16, {2, 2}), out(result, FP8REF_BFLOAT16, {2, 2});
  check(fp8ref_residual(x.get(), x.get(), out.get()) == FP8REF_OK, "residual");
  check(result[0] == 0x4000 && result[3] == 0x4000, "1 + 1");
  check(std::strlen(fp8ref_last_error()) == 0, "no error after a call that succeeded");

  refused("NULL", fp8ref_residual(nullptr, x.get(), out.get()), "residual: x must be given, got NULL");
  refused("NULL out", fp8ref_residual(x.get(), x.get(), nullptr), "residual: out must be given, got NULL");
  Tensor narrow(ones, FP8REF_FLOAT16, {2, 2}), flat(ones, FP8REF_BFLOAT16, {4}), strange(ones, 77, {2, 2});
  refused("type", fp8ref_residual(x.get(), narrow.get(), out.get()),
          "residual: y must be bfloat16, got shape (2, 2), dtype float16");
  refused("unknown type", fp8ref_residual(strange.get(), x.get(), out.get()), "dtype unknown (77)");
  refused("shape", fp8ref_residual(x.get(), flat.get(), out.get()), "got shape (2, 2), dtype bfloat16 and shape (4,)");
  refused("output", fp8ref_residual(x.get(), x.get(), flat.get()), "residual: out must have shape (2, 2)");
  Tensor negative(ones, FP8REF_BFLOAT16, {-2, -2}), none(nullptr, FP8REF_BFLOAT16, {2, 2});
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max() / 2;
  Tensor large(ones, FP8REF_BFLOAT16, {huge, huge});
  refused("negative", fp8ref_residual(negative.get(), negative.get(), out.get()), "impossible size");
  refused("huge", fp8ref_residual(large.get(), large.get(), out.get()), "impossible size");
  refused("no data", fp8ref_residual(none.get(), x.get(), out.get()), "x has no data");
  x.descriptor.ndim = -1;
  refused("ndim", fp8ref_residual(x.get(), x.get(), out.get()), "got ndim -1");
  x.descriptor.ndim = 2;
  x.descriptor.shape = nullptr;
  refused("no shape", fp8ref_residual(x.get(), x.get(), out.get()), "must have a shape");

  Tensor empty(nullptr, FP8REF_BFLOAT16, {0, 5});
  check(fp8ref_residual(empty.get(), empty.get(), empty.get()) == FP8REF_OK, "no elements, no data");
  fp8ref_tensor scalar{ones, nullptr, 0, FP8REF_BFLOAT16}, sum{result, nullptr, 0, FP8REF_BFLOAT16};
  check(fp8ref_residual(&scalar, &scalar, &sum) == FP8REF_OK, "no dimensions, no shape");
}

void policies() {
  std::uint8_t code = 0x38;
  float scale = 1, out = 0;
  Tensor a(&code, FP8REF_FLOAT8_E4M3FN, {1, 1}), s(&scale, FP8REF_FLOAT32, {}), y(&out, FP8REF_FLOAT32, {1, 1});
  auto product = [&](const char* accumulate, const char* epilogue, std::int64_t split_k, const fp8ref_tensor* out_scale,
                     const char* overflow) {
    return fp8ref_scaled_mm(a.get(), a.get(), s.get(), s.get(), nullptr, accumulate, epilogue, split_k, out_scale,
                            overflow, y.get());
  };
  check(product("exact", "a_b", 1, nullptr, nullptr) == FP8REF_OK && out == 1, "1 x 1");
  refused("NULL policy", product(nullptr, "a_b", 1, nullptr, nullptr), "scaled_mm: accumulate must be given");
  refused("unknown", product("float32", "a_b", 1, nullptr, nullptr),
          "scaled_mm: accumulate='float32' is unknown; known: exact, sm89_mma");
  refused("a mode", product("sm90", "a_b", 1, nullptr, nullptr), "accumulate='sm90' is unknown");
  refused("epilogue", product("exact", "c", 1, nullptr, nullptr), "scaled_mm: unknown epilogue 'c'");
  refused("split_k", product("exact", "a_b", 0, nullptr, nullptr), "split_k must be an integer from 1");
  refused("out_scale", product("exact", "a_b", 1, s.get(), "nan"), "belong to out of float8_e4m3fn");
  refused("blocks", product("sm90_wgmma", "deepgemm", 2, nullptr, nullptr), "split_k must be 1");
  scale = -1;
  refused("sign", product("exact", "a_b", 1, nullptr, nullptr), "a_scale must have its sign bit clear");
  refused("rule", fp8ref_quantize(y.get(), "nobody.knows", nullptr, nullptr, a.get(), s.get()),
          "quantize: unknown rule 'nobody.knows'; known: vllm.per_token");
}

void threads() {
  Tensor x(ones, FP8REF_BFLOAT16, {2, 2});
  refused("here", fp8ref_residual(x.get(), x.get(), nullptr), "out must be given");
  std::thread([] { check(std::strlen(fp8ref_last_error()) == 0, "the error of another thread"); }).join();
  check(std::strlen(fp8ref_last_error()) != 0, "the error of this thread");
  check(fp8ref_set_threads(1) == FP8REF_OK, "set_threads");
}

/// Toward zero, subnormals flushed: no bit changes, and the environment is the caller's afterwards. [ROUND-ENV]
void environment() {
  float number = 0x1.8p-127f;
  std::uint8_t code = 1;
  float value = 0;
  Tensor codes(&code, FP8REF_FLOAT8_E4M3FN, {}), scale(&number, FP8REF_FLOAT32, {}), out(&value, FP8REF_FLOAT32, {});
  std::fesetround(FE_TOWARDZERO);
#if defined(__SSE2__)
  const unsigned before = _mm_getcsr() | 0x8040;
  _mm_setcsr(before);
#endif
  const fp8ref_status status = fp8ref_dequantize(codes.get(), scale.get(), out.get());
  const int rounding = std::fegetround();
#if defined(__SSE2__)
  const unsigned after = _mm_getcsr();
  _mm_setcsr(0x1F80);
  check((after & 0xFFC0) == (before & 0xFFC0), "the control word is the caller's");
#endif
  std::fesetround(FE_TONEAREST);
  check(status == FP8REF_OK && rounding == FE_TOWARDZERO, "the environment is the caller's");
  check(value == 0x1.8p-136f, "a subnormal product");
}

}  // namespace

int main() {
  check(fp8ref_abi_version() == FP8REF_ABI_VERSION, "version of the ABI");
  check(std::strlen(fp8ref_version()) > 0, "version");
  descriptors();
  policies();
  threads();
  environment();
  return fp8ref::test::finish("test_c_abi");
}
