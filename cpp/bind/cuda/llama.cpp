// SPDX-License-Identifier: Apache-2.0
#include "bind/llama.h"

#include "fp8ref/cuda.h"

void bind_llama(nanobind::module_& m) { fp8ref::bind::bind_model<&fp8ref::cuda::load_llama>(m); }
