// SPDX-License-Identifier: Apache-2.0
#include "fp8ref/rope.h"

#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>

#include <array>
#include <optional>

#include "bind/bind.h"
#include "fp8ref/cpu.h"
#include "fpenv.h"

namespace {

using namespace fp8ref::bind;

/// scaling: factor, low_freq_factor, high_freq_factor, original_max_position_embeddings
void rope_frequencies(std::int64_t head_dim, double base, std::optional<std::array<double, 4>> scaling,
                      Out<float> inv) {
  fp8ref::RopeScaling llama3{};
  if (scaling) llama3 = {(*scaling)[0], (*scaling)[1], (*scaling)[2], (*scaling)[3]};
  fp8ref::cpu::rope_frequencies(head_dim, base, scaling ? &llama3 : nullptr, inv.data());
}

void rope_table(In<std::int64_t> positions, In<float> inv, Out<float> cos, Out<float> sin) {
  fp8ref::cpu::rope_table(positions.data(), static_cast<std::int64_t>(positions.size()), inv.data(),
                          static_cast<std::int64_t>(inv.size()), cos.data(), sin.data());
}

/// x: (tokens, heads, 2 * half), cos and sin: (tokens, half)
void rope(In<std::uint16_t> x, In<float> cos, In<float> sin, std::string_view layout, Out<std::uint16_t> out) {
  fp8ref::cpu::rope(as_bf16(x.data()), static_cast<std::int64_t>(x.shape(0)), static_cast<std::int64_t>(x.shape(1)),
                    static_cast<std::int64_t>(x.shape(2)) / 2, cos.data(), sin.data(), layout_of(layout),
                    as_bf16(out.data()));
}

void cos_sin_within(In<float> angle, double error, Out<float> cos, Out<float> sin) {
  const fp8ref::cpu::FpEnv env;
  for (std::size_t i = 0; i < angle.size(); ++i) {
    const fp8ref::CosSin value = fp8ref::cos_sin_within(angle.data()[i], error);
    cos.data()[i] = value.cos;
    sin.data()[i] = value.sin;
  }
}

}  // namespace

void bind_rope(nanobind::module_& m) {
  m.def("rope_frequencies", &rope_frequencies, nb::arg("head_dim"), nb::arg("base"), nb::arg("scaling").none(),
        nb::arg("inv"), Unlocked());
  m.def("rope_table", &rope_table, Unlocked());
  m.def("rope", &rope, Unlocked());
  // For tests: with a large error, fixed-point arithmetic decides.
  m.def("cos_sin_within", &cos_sin_within, Unlocked());
}
