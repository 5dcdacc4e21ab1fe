// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda/cuda.h"

namespace {

using namespace fp8ref::bind;

/// a: (m, k); b: (n, k); c: (m, n) or 0
void mma(Address a, std::string_view a_dtype, Address b, std::string_view b_dtype, std::int64_t m, std::int64_t n,
         std::int64_t k, Address c, std::string_view accumulate, std::string_view out_dtype, Address out,
         Address stream) {
  fp8ref::MmaArgs args{};
  args.a = at<const void>(a);
  args.b = at<const void>(b);
  args.a_type = operand_of(a_dtype);
  args.b_type = operand_of(b_dtype);
  args.m = m;
  args.n = n;
  args.k = k;
  args.c = at<const void>(c);
  args.accumulate = accumulate_of(accumulate);
  args.out_dtype = out_dtype_of(out_dtype);
  args.out = at<void>(out);
  fp8ref::cuda::mma(args, stream_at(stream));
}

}  // namespace

void bind_mma(nb::module_& m) { m.def("mma", &mma, Unlocked()); }
