// SPDX-License-Identifier: Apache-2.0
#include "bind/cuda/cuda.h"

namespace {

using namespace fp8ref::bind;

void rope_table(Address positions, std::int64_t count, Address inv, std::int64_t half, Address cos, Address sin,
                Address stream) {
  fp8ref::cuda::rope_table(at<const std::int64_t>(positions), count, at<const float>(inv), half, at<float>(cos),
                           at<float>(sin), stream_at(stream));
}

/// x: (tokens, heads, 2 * half); cos and sin: (tokens, half)
void rope(Address x, std::int64_t tokens, std::int64_t heads, std::int64_t half, Address cos, Address sin,
          std::string_view layout, Address out, Address stream) {
  fp8ref::cuda::rope(at<const fp8ref::bf16>(x), tokens, heads, half, at<const float>(cos), at<const float>(sin),
                     layout_of(layout), at<fp8ref::bf16>(out), stream_at(stream));
}

}  // namespace

void bind_rope(nb::module_& m) {
  m.def("rope_table", &rope_table, Unlocked());
  m.def("rope", &rope, Unlocked());
}
