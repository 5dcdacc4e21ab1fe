// SPDX-License-Identifier: Apache-2.0
// A library to be checked by `fp8ref check scaled_mm --library ./libx.so`: the scaled product of E4M3 codes, exactly,
// with one scale or one for each row. It needs fp8ref.h and a C99 compiler, and nothing else of fp8ref:
//
//   include=$(python -c 'import fp8ref; print(fp8ref.include_folder())')
//   cc -std=c99 -O2 -ffp-contract=off -shared -fPIC -I"$include" -o libx.so scaled_mm.c -lm
#include <fp8ref/fp8ref.h>
#include <math.h>
#include <string.h>

// A code as an integer times 2^-9: 0 to 7 and 8 << 0 to 14 << 14, with a sign.
static int64_t integer(uint8_t code) {
  const int exponent = (code >> 3) & 15, fraction = code & 7;
  const int64_t magnitude = exponent == 0 ? fraction : (int64_t)(8 + fraction) << (exponent - 1);
  return code & 0x80 ? -magnitude : magnitude;
}

static int is_nan(uint8_t code) { return (code & 0x7F) == 0x7F; }

// The sum of products, rounded once. In int64 it is exact for every K below 2^27, in any order.
static float dot(const uint8_t* a, const uint8_t* b, int64_t k) {
  int64_t sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    if (is_nan(a[i]) || is_nan(b[i])) return NAN;
    sum += integer(a[i]) * integer(b[i]);
  }
  return ldexpf((float)sum, -18);  // the conversion rounds, the power of two does not
}

// float32 to bfloat16, to nearest, ties to even.
static uint16_t to_bfloat16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  if (isnan(x)) return 0x7FC0;
  return (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

// float32 to float16, to nearest, ties to even.
static uint16_t to_float16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  const uint16_t sign = (uint16_t)((bits >> 16) & 0x8000);
  bits &= 0x7FFFFFFF;
  if (bits > 0x7F800000) return 0x7E00;
  if (bits >= 0x477FF000) return sign | 0x7C00;  // 65520 and above
  if (bits < 0x38800000) {                       // subnormal: the numbers from 0.5 on have the same distance, 2^-24
    const float shifted = fabsf(x) + 0.5f;
    memcpy(&bits, &shifted, 4);
    return sign | (uint16_t)(bits - 0x3F000000);
  }
  bits -= 112u << 23;
  return sign | (uint16_t)((bits + 0xFFF + ((bits >> 13) & 1)) >> 13);
}

static void store(const fp8ref_tensor* out, int64_t i, float x) {
  if (out->dtype == FP8REF_FLOAT32) {
    ((float*)out->data)[i] = x;
  } else {
    ((uint16_t*)out->data)[i] = out->dtype == FP8REF_BFLOAT16 ? to_bfloat16(x) : to_float16(x);
  }
}

// The steps from one row's scale to the next: 0 for one value, 1 for (rows, 1), -1 for anything else.
static int64_t scale_step(const fp8ref_tensor* scale, int64_t rows) {
  int ones = 1;
  for (int32_t i = 0; i < scale->ndim; ++i) ones = ones && scale->shape[i] == 1;
  if (scale->dtype != FP8REF_FLOAT32) return -1;
  if (ones && scale->ndim <= 2) return 0;
  return scale->ndim == 2 && scale->shape[0] == rows && scale->shape[1] == 1 ? 1 : -1;
}

const char* fp8ref_version(void) { return "example 1"; }

int32_t fp8ref_abi_version(void) { return FP8REF_ABI_VERSION; }

fp8ref_status fp8ref_scaled_mm(const fp8ref_tensor* a, const fp8ref_tensor* b, const fp8ref_tensor* a_scale,
                               const fp8ref_tensor* b_scale, const fp8ref_tensor* bias, const char* accumulate,
                               const char* epilogue, int64_t split_k, const fp8ref_tensor* out_scale,
                               const char* overflow, fp8ref_tensor* out) {
  (void)split_k, (void)out_scale, (void)overflow;  // an exact sum has no parts; the others are for E4M3 outputs
  if (a->ndim != 2 || b->ndim != 2 || a->shape[1] != b->shape[1]) return FP8REF_INVALID_ARGUMENT;
  const int64_t m = a->shape[0], n = b->shape[0], k = a->shape[1];
  if (out->ndim != 2 || out->shape[0] != m || out->shape[1] != n) return FP8REF_INVALID_ARGUMENT;
  const int64_t a_step = scale_step(a_scale, m), b_step = scale_step(b_scale, n);
  if (strcmp(accumulate, "exact") != 0 || strcmp(epilogue, "a_b") != 0 || a_step < 0 || b_step < 0 ||
      a->dtype != FP8REF_FLOAT8_E4M3FN || b->dtype != FP8REF_FLOAT8_E4M3FN || k >= INT64_C(1) << 27 ||
      (bias != NULL && bias->dtype != FP8REF_FLOAT32) ||
      (out->dtype != FP8REF_FLOAT32 && out->dtype != FP8REF_BFLOAT16 && out->dtype != FP8REF_FLOAT16)) {
    return FP8REF_UNSUPPORTED;
  }
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const float sum = dot((const uint8_t*)a->data + i * k, (const uint8_t*)b->data + j * k, k);
      const float scaled = ((const float*)b_scale->data)[j * b_step] * sum;
      const float scale = ((const float*)a_scale->data)[i * a_step];
      // With a bias the last multiplication and the addition are one rounding.
      const float result = bias == NULL ? scale * scaled : fmaf(scale, scaled, ((const float*)bias->data)[j]);
      store(out, i * n + j, result);
    }
  }
  return FP8REF_OK;
}
