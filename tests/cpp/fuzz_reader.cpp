// SPDX-License-Identifier: Apache-2.0
// fuzz_reader RUNS [SEED]: mutated headers, configs and patterns. Each must be accepted, or refused by a typed error; a
// crash, another exception or a tensor outside of its file is a failure. Build with sanitizers to see more.
#include <random>

#include "check.h"
#include "checkpoint/config.h"
#include "checkpoint/files.h"
#include "tiny.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::checkpoint;

/// Changes a text in a few places: bytes, cuts, repetitions, and words that mean something to the reader.
class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}

  std::size_t below(std::size_t n) { return n == 0 ? 0 : random_() % n; }

  std::string operator()(std::string text) {
    static const std::string words[] = {"null",
                                        "true",
                                        "-1",
                                        "1e999",
                                        "18446744073709551615",
                                        "9223372036854775807",
                                        "{}",
                                        "[]",
                                        "\"\"",
                                        "0",
                                        "\"re:(.*)*x\"",
                                        "\"Linear\"",
                                        ":",
                                        ",",
                                        "\\u",
                                        "\xFF",
                                        "[[[[[[[[",
                                        "\"BF16\"",
                                        "0.5",
                                        "\"",
                                        "}",
                                        "]",
                                        "\"dtype\"",
                                        "\"shape\""};
    for (std::size_t i = 0, count = 1 + below(4); i < count; ++i) {
      const std::size_t at = below(text.size() + 1), length = below(std::min<std::size_t>(text.size() - at, 24) + 1);
      switch (below(6)) {
        case 0:
          if (at < text.size()) text[at] = static_cast<char>(random_());
          break;
        case 1:
          if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
          break;
        case 2:
          text.erase(at, length);
          break;
        case 3:
          text.insert(at, text.substr(at, length));
          break;
        case 4:
          text.insert(at, words[below(std::size(words))]);
          break;
        default:
          text.replace(at, length, words[below(std::size(words))]);
      }
    }
    return text;
  }

 private:
  std::mt19937_64 random_;
};

long accepted = 0, refused = 0;

template <class Work>
void attempt(const std::string& input, const Work& work) {
  try {
    work();
    ++accepted;
  } catch (const CheckpointError& error) {
    ++refused;
    test::check(*error.what() != '\0', "a message");
  } catch (const std::exception& error) {
    test::check(false, std::string(error.what()) + " from " + quote(input));
  }
}

void fuzz_safetensors(const std::string& input) {
  attempt(input, [&] {
    for (const Tensor& tensor : parse_safetensors(input, "fuzzed")) {
      const bool inside = tensor.data >= input.data() && tensor.data + tensor.size <= input.data() + input.size();
      test::check(inside, "a tensor outside of its file");
    }
  });
}

void fuzz_config(const std::string& input) {
  attempt(input, [&] {
    const Object object = parse_object(input, "fuzzed", "it");
    const Section section("fuzzed", &object);
    read_model(section, section);
    Quantization(section).activations("model.layers.0.self_attn.q_proj");
  });
}

void fuzz_pattern(const std::string& input) {
  attempt(input, [&] { Pattern(input).matches("model.layers.0.self_attn.q_proj"); });
}

}  // namespace

int main(int count, char** arguments) {
  const long runs = count > 1 ? std::atol(arguments[1]) : 1000;
  Mutator mutate(count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 1);
  test::Tiny tiny;
  tiny.config["rope_scaling"] = R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
                                    "original_max_position_embeddings": 8192})";
  while (tiny.tensors.size() > 6) tiny.tensors.erase(tiny.tensors.begin());
  const std::string config = tiny.config_text(), file = tiny.file();
  const std::string header = file.substr(8, file.find("}}") - 6), data = file.substr(8 + header.size());
  const std::string pattern = ".*layers\\.(0|3[01])\\.(?:self_attn|mlp){1,2}\\.[q-v_]+?_proj$";
  for (long run = 0; run < runs; ++run) {
    fuzz_config(mutate(config));
    fuzz_pattern(mutate(pattern));
    fuzz_safetensors(test::Tiny::joined(mutate(header), data));
    if (run % 8 == 0) fuzz_safetensors(mutate(file));
  }
  std::printf("%ld accepted, %ld refused\n", accepted, refused);
  test::check(accepted > runs / 100 && refused > runs / 100, "both kinds of outcome");
  return test::finish("fuzz");
}
