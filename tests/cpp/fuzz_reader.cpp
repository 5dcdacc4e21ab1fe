// SPDX-License-Identifier: Apache-2.0
// fuzz_reader RUNS SCRATCH [SEED]: mutated headers, configs and patterns, and every 16th time a scrambled folder, which
// is written to SCRATCH. Each must be accepted, or refused by a typed error; a crash, another exception or a tensor
// outside of its file is a failure. Build with sanitizers to see more.
#include <random>

#include "check.h"
#include "checkpoint/config.h"
#include "checkpoint/files.h"
#include "checkpoint/tensors.h"
#include "scramble.h"
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
    const Model model = read_model(section, section);
    const std::int64_t last = model.numbers.num_hidden_layers - 1;
    for (const std::int64_t layer : {std::int64_t{0}, last / 2, last}) {
      const LayerKind kind = model.kinds.of(layer);
      test::check(!kind.cross || !kind.rope, "cross-attention without RoPE");
      test::check(!kind.moe || model.numbers.moe.has_value(), "experts that the config has");
    }
    Quantization(section).activations("model.layers.0.self_attn.q_proj");
  });
}

unsigned touched = 0;  // makes reading an effect

/// Bytes of a weight are in a mapped file, or in a copy; either way they can be read.
void check_bytes(const LlamaWeights& weights, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  touched += static_cast<unsigned>(bytes.front()) + static_cast<unsigned>(bytes.back());
  for (const auto& file : dynamic_cast<const Storage&>(*weights.storage).folder.files()) {
    const std::string_view all = file->bytes();
    const auto* begin = reinterpret_cast<const char*>(bytes.data());
    if (begin < all.data() || begin >= all.data() + all.size()) continue;
    test::check(bytes.size() <= static_cast<std::size_t>(all.data() + all.size() - begin), "a weight within its file");
  }
}

/// A folder whose parts are all valid JSON and safetensors.
void fuzz_folder(const test::Tiny& tiny, const std::filesystem::path& folder) {
  const std::string path = tiny.write(folder);
  attempt(tiny.config_text(), [&] {
    const LlamaWeights weights = read_llama(path);
    const auto check_mlp = [&](const MlpWeights& mlp) {
      for (const Projection* part : {&mlp.gate_proj, &mlp.up_proj, &mlp.down_proj}) {
        check_bytes(weights, stored_bytes(*part));
      }
    };
    for (const LlamaLayerWeights& layer : weights.layers) {
      for (const Projection* part : {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj}) {
        check_bytes(weights, stored_bytes(*part));
      }
      if (!layer.moe) {
        check_mlp(layer.mlp);
        continue;
      }
      check_mlp(layer.moe->shared_expert);
      for (const MlpWeights& expert : layer.moe->experts) check_mlp(expert);
    }
    weights.storage->release(stored_bytes(weights.layers.front().q_proj));
    weights.storage->prefetch(stored_bytes(weights.layers.back().o_proj));
  });
}

void fuzz_pattern(const std::string& input) {
  attempt(input, [&] { Pattern(input).matches("model.layers.0.self_attn.q_proj"); });
}

/// What bytes are mutated.
struct Seeds {
  std::vector<std::string> configs;
  std::string header, data, file;
  std::string pattern = ".*layers\\.(0|3[01])\\.(?:self_attn|mlp){1,2}\\.[q-v_]+?_proj$";

  Seeds() {
    test::Tiny tiny, blocks;
    blocks.quantize_in_blocks();
    tiny.config["rope_scaling"] = R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
                                      "original_max_position_embeddings": 8192})";
    configs = {tiny.config_text(), blocks.config_text()};
    for (const auto& [family, outer] : {std::pair{Family::llama4, "llama4"}, std::pair{Family::mllama, "mllama"}}) {
      test::Tiny other(family);
      other.quantize_cache();
      other.config["no_rope_layers"] = "[1, 1, 1, 0]";
      configs.push_back(other.config_text());
      other.nest(outer);
      configs.push_back(other.config_text());
    }
    while (tiny.tensors.size() > 6) tiny.tensors.erase(tiny.tensors.begin());
    file = tiny.file();
    header = file.substr(8, file.find("}}") - 6);
    data = file.substr(8 + header.size());
  }
};

}  // namespace

int main(int count, char** arguments) {
  const long runs = std::atol(arguments[1]);
  const std::uint64_t seed = count > 3 ? std::strtoull(arguments[3], nullptr, 10) : 1;
  Mutator mutate(seed);
  test::Scrambler scramble(seed);
  const Seeds seeds;
  for (long run = 0; run < runs; ++run) {
    fuzz_config(mutate(seeds.configs[static_cast<std::size_t>(run) % seeds.configs.size()]));
    fuzz_pattern(mutate(seeds.pattern));
    fuzz_safetensors(test::Tiny::joined(mutate(seeds.header), seeds.data));
    if (run % 8 == 0) fuzz_safetensors(mutate(seeds.file));
    if (run % 16 == 0) fuzz_folder(scramble(), std::filesystem::path(arguments[2]) / "model");
  }
  std::printf("%ld accepted, %ld refused (%x)\n", accepted, refused, touched);
  test::check(accepted > runs / 100 && refused > runs / 100, "both kinds of outcome");
  return test::finish("fuzz");
}
