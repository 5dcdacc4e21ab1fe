// SPDX-License-Identifier: Apache-2.0
// The whole model without Python: cuts, threads, interrupted calls, generation.
#include <algorithm>
#include <numeric>

#include "check.h"
#include "fp8ref/errors.h"
#include "fp8ref/llama.h"
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

void test_cuts(const std::string& folder) {
  const Ids ids = prompt(40);
  Logits exact;
  for (const Accumulate accumulate : {Accumulate::exact, Accumulate::sm90_wgmma}) {
    const auto model = Llama::load(folder, accumulate);
    cpu::set_threads(1);
    const Logits expected = logits(*model, ids, ids.size());
    for (const int threads : {1, 2, 3}) {
      cpu::set_threads(threads);
      for (const std::size_t piece : {1, 7, 40}) check(same(logits(*model, ids, piece), expected), "cuts and threads");
    }
    check(exact.empty() || !same(exact, expected), "accumulators differ");
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
    check(value.rows == (value.name == "logits" ? 2 : 5), "rows of " + value.name);
  });
  check(names.size() == 1 + Tiny::kLayers * 29 + 2, "traced " + std::to_string(names.size()));
  check(names.front() == "embed_tokens" && names.back() == "logits", "first and last name");
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
  refuses<OpError>("unknown id", "token id 80", [&] { model->generate(Ids{1, 80}, 3); });
  refuses<OpError>("count", "max_new_tokens", [&] { model->generate(start, -1); });
  refuses<OpError>("too long", "exceed", [&] { model->generate(prompt(2049), 1); });
}

}  // namespace

int main(int, char** arguments) {
  const std::filesystem::path scratch = arguments[1];
  Tiny tied;
  tied.tie_embeddings();
  for (const std::string& folder : {Tiny().write(scratch / "plain"), tied.write(scratch / "tied")}) {
    test_cuts(folder);
    test_trace(folder);
    test_interruption(folder);
    test_generation(folder);
  }
  test_long_prompt((scratch / "plain").string());
  return test::finish("llama");
}
