// SPDX-License-Identifier: Apache-2.0
// The epilogue of the wgmma kernels, one element: scaled_mm_epilogue of fp8ref/scaled_mm.h without a branch for each.
// Internal.
#pragma once

#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref::cuda {

/// The bias that is none: RN32(x + -0) is x, of both zeros too.
inline constexpr float kNoBias = -0.0F;

/// One line for the three orders [MM-EPILOGUE-A-B] [MM-EPILOGUE-B-A] [MM-EPILOGUE-AB], as RN32(1 * x) is x:
/// z = RN32(last * RN32(first * accumulator) + bias) [MM-BIAS].
FP8REF_HD float wgmma_scale(float accumulator, float a_scale, float b_scale, float bias, Epilogue epilogue) {
  float first = b_scale, last = a_scale;
  if (epilogue == Epilogue::b_a) {
    first = a_scale;
    last = b_scale;
  } else if (epilogue == Epilogue::ab) {
    first = 1;
    last = mul32(a_scale, b_scale);
  }
  return canonical(fma32(last, mul32(first, accumulator), bias));
}

}  // namespace fp8ref::cuda
