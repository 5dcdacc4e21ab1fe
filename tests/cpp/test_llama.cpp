// SPDX-License-Identifier: Apache-2.0
// The whole model without Python: cuts, threads, streamed weights, interrupted calls, images, generation.
#include <algorithm>
#include <numeric>
#include <set>

#include "check.h"
#include "fp8ref/errors.h"
#include "fp8ref/llama.h"
#include "llama_pass.h"
#include "tiny.h"

namespace {

using namespace fp8ref;
using test::check;
using test::refuses;
using test::Tiny;

using Ids = std::vector<std::int64_t>;
using Logits = std::vector<float>;

/// Logits of all tokens from an empty cache, fed in pieces.
Logits logits(Llama& model, const Ids& ids, std::size_t piece) {
  const auto vocab = static_cast<std::size_t>(model.config().vocab_size);
  Logits out(ids.size() * vocab);
  model.reset();
  for (std::size_t at = 0; at < ids.size(); at += piece) {
    const std::size_t count = std::min(piece, ids.size() - at);
    model.forward(std::span(ids).subspan(at, count), static_cast<std::int64_t>(count), out.data() + at * vocab);
  }
  return out;
}

bool same(const Logits& x, const Logits& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
}

Ids prompt(std::size_t count) {
  Ids ids(count);
  for (std::size_t i = 0; i < count; ++i) ids[i] = static_cast<std::int64_t>((i * i * 7 + 3) % Tiny::kVocab);
  return ids;
}

/// A model with streamed weights, which takes large ones in parts.
std::unique_ptr<Llama> streamed(const std::string& folder, Accumulate accumulate, std::int64_t part) {
  const LlamaWeights weights = read_llama(folder);
  return make_llama(weights, accumulate, cpu_ops(weights.storage, Weights::streamed, part));
}

/// [LLAMA-CUT], [LLAMA-STREAM]; with experts also: a token has its bits whatever other tokens are there. [GROUPED-ROWS]
void test_cuts(const std::string& folder) {
  const Ids ids = prompt(40);
  Logits exact;
  for (const Accumulate accumulate : {Accumulate::exact, Accumulate::sm90}) {
    cpu::set_threads(1);
    const Logits expected = logits(*Llama::load(folder, accumulate), ids, ids.size());
    for (const std::int64_t part : {0, 1000}) {  // 0: mapped; else the bytes of a weight that are worked on at once
      const auto model = part == 0 ? Llama::load(folder, accumulate) : streamed(folder, accumulate, part);
      for (const int threads : {1, 2, 3}) {
        cpu::set_threads(threads);
        for (const std::size_t piece : {1, 7, 40}) check(same(logits(*model, ids, piece), expected), folder + ": cuts");
      }
    }
    check(exact.empty() || !same(exact, expected), folder + ": accumulators differ");
    exact = expected;
  }
  cpu::set_threads(0);
}

void test_long_prompt(const std::string& folder) {
  const auto model = Llama::load(folder, Accumulate::exact);
  const Ids ids = prompt(700);  // more than one internal chunk
  const Logits whole = logits(*model, ids, ids.size());
  check(same(logits(*model, ids, 260), whole), "a long prompt");
  model->reset();
  Logits last(Tiny::kVocab);
  model->forward(ids, 1, last.data());
  check(std::equal(last.begin(), last.end(), whole.end() - Tiny::kVocab), "logits of the last token");
}

void test_trace(const std::string& folder) {
  const auto model = Llama::load(folder, Accumulate::exact);
  const Ids ids = prompt(5);
  std::vector<std::string> names;
  Logits out(2 * Tiny::kVocab);
  model->forward(ids, 2, out.data(), [&](const TraceValue& value) {
    names.push_back(value.name);
    const bool of_tensor = value.name.ends_with("input_scale") && value.cols == 1;  // of static activations
    check(value.rows == (value.name == "logits" ? 2 : 5) || (of_tensor && value.rows == 1), "rows of " + value.name);
  });
  check(std::set(names.begin(), names.end()).size() == names.size(), "a name is traced twice");
  check(names.front() == "embed_tokens" && names.back() == "logits", "first and last name");
  if (folder.ends_with("plain")) {
    check(names.size() == 1 + Tiny::kLayers * 29 + 2, "traced " + std::to_string(names.size()));
  }
}

/// Whatever throws in a forward, the cache is as before.
void test_interruption(const std::string& folder) {
  const auto model = Llama::load(folder, Accumulate::exact);
  const Ids ids = prompt(12);
  const Logits whole = logits(*model, ids, ids.size());
  for (int calls = 0; calls < 6; ++calls) {
    model->reset();
    model->forward(std::span(ids).first(5), 0, nullptr);
    int polls = 0;
    refuses<std::runtime_error>("interrupted", "stop", [&] {
      Logits unused(Tiny::kVocab);
      model->forward(prompt(600), 1, unused.data(), {}, [&] {
        if (polls++ == calls) throw std::runtime_error("stop");
      });
    });
    check(model->length() == 5, "length after an interruption");
    Logits rest(7 * Tiny::kVocab);
    model->forward(std::span(ids).subspan(5), 7, rest.data());
    check(std::equal(rest.begin(), rest.end(), whole.begin() + 5 * Tiny::kVocab), "logits after an interruption");
  }
}

void test_generation(const std::string& folder) {
  const auto model = Llama::load(folder, Accumulate::exact);
  const Ids start = prompt(6);
  Ids ids = start, seen;
  for (int i = 0; i < 5; ++i) {
    const Logits all = logits(*model, ids, ids.size());
    ids.push_back(std::max_element(all.end() - Tiny::kVocab, all.end()) - (all.end() - Tiny::kVocab));
  }
  const Ids expected(ids.begin() + 6, ids.end());
  check(model->generate(start, 5, [&](std::int64_t id) { seen.push_back(id); }) == expected, "greedy generation");
  check(seen == expected, "each id is reported");
  check(model->generate(start, 0).empty(), "no tokens asked for");
  check(model->generate(prompt(2047), 9).size() == 1, "the last position");
  refuses<OpError>("empty prompt", "at least one", [&] { model->generate({}, 3); });
  const std::int64_t unknown = model->config().embedding_rows;
  refuses<OpError>("unknown id", "token id " + std::to_string(unknown), [&] { model->generate(Ids{1, unknown}, 3); });
  refuses<OpError>("count", "max_new_tokens", [&] { model->generate(start, -1); });
  refuses<OpError>("too long", "exceed", [&] { model->generate(prompt(2049), 1); });
}

/// Images of Llama 3.2 Vision: they hold until another comes, and a forward that fails leaves them. [LLAMA-VISION]
void test_images(const std::string& folder) {
  const auto model = Llama::load(folder, Accumulate::exact);
  std::vector<bf16> numbers(11 * Tiny::kHidden);
  for (std::size_t i = 0; i < numbers.size(); ++i)
    numbers[i].bits = static_cast<std::uint16_t>(0x3E00 ^ (i * 40503 % 65536 & 0x80FF));
  const VisionStates first{numbers.data(), 4}, second{numbers.data() + 4 * Tiny::kHidden, 7};
  const Ids ids = prompt(6);
  const auto feed = [&](std::size_t from, std::size_t count, const std::optional<VisionStates>& image) {
    Logits out(count * Tiny::kVocab);
    model->forward(std::span(ids).subspan(from, count), static_cast<std::int64_t>(count), out.data(), {}, {}, image);
    return out;
  };
  const Logits blind = feed(0, 6, {});
  model->reset();
  const Logits whole = feed(0, 6, first);
  check(!same(blind, whole), "an image is seen");
  model->reset();
  check(same(feed(0, 6, {}), blind), "reset forgets the image");
  for (int calls = 0; calls < 6; ++calls) {
    model->reset();
    const Logits begin = feed(0, 2, first);
    int polls = 0;
    refuses<std::runtime_error>("interrupted", "stop", [&] {
      const auto stop = [&] {
        if (polls++ == calls) throw std::runtime_error("stop");
      };
      model->forward(ids, 0, nullptr, {}, stop, second);
    });
    Logits all = begin;
    const Logits end = feed(2, 4, {});
    all.insert(all.end(), end.begin(), end.end());
    check(same(all, whole), "an image holds, and a forward that fails leaves it");
  }
  model->reset();
  feed(0, 2, first);
  const Logits replaced = feed(2, 4, second);
  check(!std::equal(replaced.begin(), replaced.end(), whole.begin() + 2 * Tiny::kVocab), "another image is seen");
  model->reset();
  const Logits last = feed(0, 6, first);
  const auto best = std::max_element(last.end() - Tiny::kVocab, last.end()) - (last.end() - Tiny::kVocab);
  check(model->generate(ids, 1, {}, {}, first) == Ids{best}, "generation sees the image");
  refuses<OpError>("an empty image", "at least one", [&] { feed(0, 1, VisionStates{numbers.data(), 0}); });
}

struct Nowhere final : WeightStorage {
  void prefetch(std::span<const std::byte>) const override {}
  void release(std::span<const std::byte>) const override {}
};

/// The facts of a weight that is worked on in parts are those of its own rows: the row behind the first part is at a
/// tie that only its facts keep from being rounded as the sum in float64 says.
void test_facts_of_parts() {
  constexpr std::int64_t kRows = 130, kDepth = 4;
  const bf16 one{0x3F80}, ties[] = {{0x3B80}, {0x3380}, {0x1C80}};  // 1; 2^-8 and 2^-24, of bf16 and fp32; 2^-70
  std::vector<bf16> weights(kRows * kDepth, bf16{0}), x(2 * kDepth, one), out(2 * kRows), expected(2 * kRows);
  for (std::int64_t row = 0; row < kRows; ++row) weights[static_cast<std::size_t>(row * kDepth)] = one;
  std::copy(std::begin(ties), std::end(ties), weights.begin() + 128 * kDepth + 1);
  const auto ops = cpu_ops(std::make_shared<Nowhere>(), Weights::streamed, 1);
  std::vector<RowFacts> facts(kRows);
  ops->linear_row_facts(weights.data(), kRows, kDepth, facts.data());
  ops->linear({x.data(), weights.data(), 2, kRows, kDepth, nullptr, facts.data(), Accumulate::exact, out.data()});
  cpu::linear(x.data(), weights.data(), 2, kRows, kDepth, nullptr, nullptr, expected.data());
  check(facts[128].finite && facts[128].low_exponent == -70, "facts of the row");
  check(expected[128].bits == 0x3F81, "above the tie");
  check(std::memcmp(out.data(), expected.data(), out.size() * sizeof(bf16)) == 0, "facts of parts");
}

/// A Llama with biases, whose gates are BF16 and, as the others of its wide projections, of more than one part.
Tiny biased() {
  Tiny tiny;
  tiny.config["mlp_bias"] = "true";
  for (const char* layer : {"0", "1"}) {
    const std::string prefix = std::string("model.layers.") + layer + ".mlp.";
    for (const char* name : {"gate_proj", "up_proj"}) tiny.bf16(prefix + name + ".bias", {Tiny::kWide}, 0x3E00);
    tiny.bf16(prefix + "down_proj.bias", {Tiny::kHidden}, 0x3E00);
    tiny.bf16(prefix + "gate_proj.weight", {Tiny::kWide, Tiny::kHidden}, 0x3E00);
    tiny.tensors.erase(prefix + "gate_proj.weight_scale");
  }
  return tiny;
}

/// A model of each family, with every way to store experts, scales and the cache.
std::vector<std::string> folders(const std::filesystem::path& scratch) {
  Tiny tied, codes, blocks(Family::llama4), fused(Family::llama4), fixed(Family::llama4), several(Family::llama4);
  tied.tie_embeddings();
  codes.quantize_cache();
  blocks.quantize_in_blocks();
  fused.fuse_experts();
  fixed.quantize_statically();  // with an FP8 cache
  several.number("num_experts_per_tok", 3);
  return {biased().write(scratch / "biased"),
          Tiny().write(scratch / "plain"),
          tied.write(scratch / "tied"),
          codes.write(scratch / "codes"),
          blocks.write(scratch / "blocks"),
          fused.write(scratch / "fused"),
          fixed.write(scratch / "static"),
          several.write(scratch / "several"),
          Tiny(Family::mllama).write(scratch / "mllama")};
}

}  // namespace

int main(int, char** arguments) {
  const std::filesystem::path scratch = arguments[1];
  test_facts_of_parts();
  for (const std::string& folder : folders(scratch)) {
    test_cuts(folder);
    test_trace(folder);
    test_interruption(folder);
    test_generation(folder);
  }
  test_images((scratch / "mllama").string());
  refuses<OpError>("an image for a Llama", "mllama", [&] {
    const bf16 number{0};
    Llama::load((scratch / "plain").string(), Accumulate::exact)
        ->generate(prompt(1), 1, {}, {}, VisionStates{&number, 1});
  });
  test_long_prompt((scratch / "plain").string());
  return test::finish("llama");
}
