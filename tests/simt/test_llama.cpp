// SPDX-License-Identifier: Apache-2.0
// The whole model on the emulated device: every traced value, logits and ids are those of the CPU.
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "compare.h"
#include "fp8ref/cuda.h"
#include "fp8ref/llama.h"
#include "tiny.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

using Values = std::map<std::string, std::vector<std::byte>>;

/// An image for a model that takes one.
std::optional<VisionStates> image_for(const Llama& model) {
  static const std::vector<bf16> numbers = [] {
    std::vector<bf16> out(static_cast<std::size_t>(5 * Tiny::kHidden));
    for (std::size_t i = 0; i < out.size(); ++i)
      out[i].bits = static_cast<std::uint16_t>(0x3F00 ^ (i * 2654435761u >> 16 & 0x80FF));
    return out;
  }();
  if (model.config().family != Family::mllama) return std::nullopt;
  return VisionStates{numbers.data(), 5};
}

/// Every intermediate of a prompt that is fed in pieces, and the logits. An image comes with the second piece.
Values traced(Llama& model, const std::vector<std::int64_t>& ids, std::size_t piece) {
  Values values;
  for (std::size_t at = 0; at < ids.size(); at += piece) {
    const std::size_t count = std::min(piece, ids.size() - at);
    std::vector<float> logits(count * static_cast<std::size_t>(model.config().vocab_size));
    const auto record = [&](const TraceValue& value) {
      const auto* data = static_cast<const std::byte*>(value.data);
      values[std::to_string(at) + " " + value.name].assign(
          data, data + static_cast<std::size_t>(value.rows * value.cols) * TraceValue::size_of(value.type));
    };
    const bool seen = at == piece || piece == ids.size();
    model.forward(std::span(ids).subspan(at, count), static_cast<std::int64_t>(count), logits.data(), record, {},
                  seen ? image_for(model) : std::nullopt);
  }
  return values;
}

void test_folder(const std::string& folder, Accumulate accumulate, std::initializer_list<std::size_t> pieces) {
  const auto expected = Llama::load(folder, accumulate), got = cuda::load_llama(folder, accumulate);
  const std::vector<std::int64_t> ids = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5};
  for (const std::size_t piece : pieces) {
    expected->reset();
    got->reset();
    const Values left = traced(*expected, ids, piece), right = traced(*got, ids, piece);
    check(left.size() == right.size(), "traced names");
    for (const auto& [name, value] : left) {
      const auto found = right.find(name);
      check(found != right.end() && found->second == value,
            folder + ", pieces of " + std::to_string(piece) + ": " + name);
    }
  }
  const auto image = image_for(*expected);
  check(expected->generate(ids, 4, {}, {}, image) == got->generate(ids, 4, {}, {}, image), folder + ": generated ids");
}

}  // namespace

int main() {
  const std::filesystem::path scratch = std::filesystem::temp_directory_path() / "fp8ref-simt-llama";
  Tiny tied, several(Family::llama4), fixed(Family::llama4), blocks(Family::llama4), fused(Family::llama4);
  tied.tie_embeddings();
  several.number("num_experts_per_tok", 3);
  fixed.quantize_statically();  // with an FP8 cache
  blocks.quantize_in_blocks();
  fused.fuse_experts();
  test_folder(Tiny().write(scratch / "plain"), Accumulate::exact, {11, 4, 1});
  test_folder(tied.write(scratch / "tied"), Accumulate::sm90_wgmma, {11, 4});
  test_folder(tied.write(scratch / "mode"), Accumulate::sm90, {11, 4});
  test_folder(several.write(scratch / "several"), Accumulate::exact, {7});
  test_folder(fixed.write(scratch / "static"), Accumulate::sm90, {7});
  test_folder(blocks.write(scratch / "blocks"), Accumulate::sm90_wgmma, {7});
  test_folder(fused.write(scratch / "fused"), Accumulate::exact, {7});
  test_folder(Tiny(Family::mllama).write(scratch / "mllama"), Accumulate::exact, {7});
  std::filesystem::remove_all(scratch);
  return finish("simt llama");
}
