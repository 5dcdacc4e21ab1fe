// SPDX-License-Identifier: Apache-2.0
// The extension module fp8ref._cuda: one bind_<stem>() per file of this folder. Loading it starts nothing of CUDA.
#include <nanobind/nanobind.h>

#include "bind/bind.h"

#define FP8REF_BIND(stem) void bind_##stem(nanobind::module_& m);
#include "bind_list.inc"
#undef FP8REF_BIND

NB_MODULE(_cuda, m) {
  fp8ref::bind::register_errors();
#define FP8REF_BIND(stem) bind_##stem(m);
#include "bind_list.inc"
#undef FP8REF_BIND
}
