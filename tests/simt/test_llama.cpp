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

/// Every intermediate of a prompt that is fed in pieces, and the logits.
Values traced(Llama& model, const std::vector<std::int64_t>& ids, std::size_t piece) {
  Values values;
  for (std::size_t at = 0; at < ids.size(); at += piece) {
    const std::size_t count = std::min(piece, ids.size() - at);
    std::vector<float> logits(count * static_cast<std::size_t>(model.config().vocab_size));
    model.forward(std::span(ids).subspan(at, count), static_cast<std::int64_t>(count), logits.data(),
                  [&](const TraceValue& value) {
                    const std::size_t size = value.type == TraceValue::Type::uint8      ? 1
                                             : value.type == TraceValue::Type::bfloat16 ? 2
                                                                                        : 4;
                    const auto* data = static_cast<const std::byte*>(value.data);
                    values[std::to_string(at) + " " + value.name].assign(
                        data, data + static_cast<std::size_t>(value.rows * value.cols) * size);
                  });
  }
  return values;
}

void test_folder(const std::string& folder, Accumulate accumulate) {
  const auto expected = Llama::load(folder, accumulate), got = cuda::load_llama(folder, accumulate);
  const std::vector<std::int64_t> ids = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5};
  for (const std::size_t piece : {ids.size(), std::size_t{4}, std::size_t{1}}) {
    expected->reset();
    got->reset();
    const Values left = traced(*expected, ids, piece), right = traced(*got, ids, piece);
    check(left.size() == right.size(), "traced names");
    for (const auto& [name, value] : left) {
      const auto found = right.find(name);
      check(found != right.end() && found->second == value, "pieces of " + std::to_string(piece) + ": " + name);
    }
  }
  check(expected->generate(ids, 9) == got->generate(ids, 9), "generated ids");
}

}  // namespace

int main() {
  const std::filesystem::path scratch = std::filesystem::temp_directory_path() / "fp8ref-simt-llama";
  Tiny tied;
  tied.tie_embeddings();
  test_folder(Tiny().write(scratch / "plain"), Accumulate::exact);
  test_folder(tied.write(scratch / "tied"), Accumulate::sm90_wgmma);
  test_folder(tied.write(scratch / "mode"), Accumulate::sm90);
  std::filesystem::remove_all(scratch);
  return finish("simt llama");
}
