// SPDX-License-Identifier: Apache-2.0
// The shared library from C: a product, and the error of one that has no meaning.
#include <fp8ref/fp8ref.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  uint8_t ones[4] = {0x38, 0x38, 0x38, 0x38};
  float half = 0.5f, result = 0;
  const int64_t rows[2] = {1, 4}, one[2] = {1, 1};
  const fp8ref_tensor a = {ones, rows, 2, FP8REF_FLOAT8_E4M3FN}, scale = {&half, NULL, 0, FP8REF_FLOAT32};
  fp8ref_tensor out = {&result, one, 2, FP8REF_FLOAT32};
  if (fp8ref_abi_version() != FP8REF_ABI_VERSION) return 1;
  if (fp8ref_scaled_mm(&a, &a, &scale, &scale, NULL, "exact", "a_b", 1, NULL, NULL, &out) != FP8REF_OK) return 2;
  if (result != 1.0f) return 3;
  if (fp8ref_scaled_mm(&a, &a, &scale, &scale, NULL, "none", "a_b", 1, NULL, NULL, &out) != FP8REF_INVALID_ARGUMENT) {
    return 4;
  }
  if (strstr(fp8ref_last_error(), "scaled_mm: accumulate='none' is unknown") == NULL) return 5;
  printf("libfp8ref %s: 1 x 1 = %g; %s\n", fp8ref_version(), result, fp8ref_last_error());
  return 0;
}
