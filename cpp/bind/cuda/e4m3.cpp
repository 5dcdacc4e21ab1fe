// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda/cuda.h"

namespace {

using namespace fp8ref::bind;

template <class T>
void encode(Address x, std::size_t n, std::string_view overflow, Address codes, Address stream) {
  fp8ref::cuda::encode(at<const T>(x), n, overflow_of(overflow), at<fp8ref::e4m3>(codes), stream_at(stream));
}

void decode(Address codes, std::size_t n, Address x, Address stream) {
  fp8ref::cuda::decode(at<const fp8ref::e4m3>(codes), n, at<float>(x), stream_at(stream));
}

}  // namespace

void bind_e4m3(nb::module_& m) {
  m.def("encode_float32", &encode<float>, Unlocked());
  m.def("encode_float64", &encode<double>, Unlocked());
  m.def("encode_bfloat16", &encode<fp8ref::bf16>, Unlocked());
  m.def("encode_float16", &encode<fp8ref::fp16>, Unlocked());
  m.def("decode", &decode, Unlocked());
}
