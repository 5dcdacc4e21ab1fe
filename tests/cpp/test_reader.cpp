// SPDX-License-Identifier: Apache-2.0
// The checkpoint reader against damaged and unusual inputs. (tests/checkpoint holds more of them, for both readers.)
#include <chrono>
#include <functional>

#include "check.h"
#include "checkpoint/config.h"
#include "checkpoint/files.h"
#include "tiny.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::checkpoint;
using test::check;
using test::refuses;
using test::Tiny;

constexpr char kQ[] = "model.layers.0.self_attn.q_proj";

void test_json() {
  const std::string deep(70, '['), closed(70, ']');
  const std::string bad[] = {"",
                             "{",
                             "[]",
                             "null",
                             R"({"a": 1, "a": 2})",
                             R"({"a": {"b": 1, "c": 2, "b": 3}})",
                             R"({"a": NaN})",
                             R"({"a": Infinity})",
                             R"({"a": 1e999})",
                             R"({"a": 01})",
                             R"({"a": 1,})",
                             R"({"a": 1} x)",
                             R"({'a': 1})",
                             R"({"a": "\ud800"})",
                             "{\"a\": \"\xFF\"}",
                             "{\"a\": \"\xC0\x80\"}",
                             "{\"a\": \"\n\"}",
                             "\xEF\xBB\xBF{}",
                             std::string("{}\0", 3),
                             std::string("{\"a\": 1}\0{", 10),
                             "{\"a\": " + deep + closed + "}"};
  for (const std::string& text : bad) {
    refuses<CheckpointError>("JSON " + quote(text), "file.json", [&] { parse_object(text, "file.json", "the file"); });
  }
  const Object object =
      parse_object(R"( {"z": [1, -2, 3.5, "é", true, null, {}], "a": 18446744073709551615} )", "f", "it");
  check(object.size() == 2 && object[0].first == "z" && object[1].first == "a", "keys keep their order");
  std::int64_t value = 0;
  check(object[0].second.array()->at(1).integer(-5, 5, value) && value == -2, "negative integer");
  check(!object[1].second.integer(0, INT64_MAX, value), "an integer beyond 63 bits");
  check(show(object[0].second) == "[1, -2, 3.5, '\\xc3\\xa9', true, null, {}]", "shown as " + show(object[0].second));
}

void test_values() {
  const Object object =
      parse_object(R"({"i": 3, "f": 3.0, "b": true, "n": null, "big": 1e300, "huge": 1e30})", "f", "it");
  const Section section("config.json", &object);
  check(section.integer("i", 1) == 3 && section.integer("n", 1, 9, 7) == 7 && section.number("i") == 3, "values");
  for (const char* key : {"f", "b", "n", "absent"}) {
    refuses<CheckpointError>(key, key, [&] { section.integer(key, 1); });
  }
  refuses<CheckpointError>("range", "from 4 to", [&] { section.integer("i", 4); });
  refuses<CheckpointError>("a switch is no number", "key b must be", [&] { section.number("b"); });
}

void test_patterns() {
  const std::string q = "model.layers.10.self_attn.q_proj";
  const std::pair<const char*, bool> cases[] = {{"", true},
                                                {"model", true},
                                                {"layers", false},
                                                {".*layers", true},
                                                {".*\\.q_proj$", true},
                                                {".*q_pro$", false},
                                                {"^model", true},
                                                {".*\\d{2}\\.self", true},
                                                {".*\\d{3}", false},
                                                {"m[a-o]+d", true},
                                                {"m[^o]", false},
                                                {"(model|x)\\.", true},
                                                {"(?:x|y)?m", true},
                                                {"(.*\\.){3,}", true},
                                                {"(.*\\.){5,}", false},
                                                {"[\\w.]+$", true},
                                                {".{32}$", true},
                                                {".{31}$", false},
                                                {"a|model", true},
                                                {"a|", true},
                                                {"\\S+\\s", false},
                                                {"é|model", true},
                                                {"m+?o*?d{1}?", true}};
  for (const auto& [pattern, expected] : cases) check(Pattern(pattern).matches(q) == expected, pattern);
  const std::string long_one(257, 'a');
  for (const char* pattern :
       {"(",  ")",     "[",     "[]",  "[b-a]", "*",  "a**",         "a{",         "a{x}", "a{3,1}",        "a{33}",
        "^*", "(?=a)", "(?i)a", "\\1", "\\b",   "\\", "[[:alpha:]]", "((((()))))", "a++",  long_one.c_str()}) {
    refuses<UnsupportedError>(pattern, "", [&] { Pattern{pattern}; });
  }
  const auto start = std::chrono::steady_clock::now();
  for (const char* pattern : {"(a*)*x", "((((.*)*)*)*)*x", "((((.?){32}){32}){32}){32}x", "(((.*.)*.)*.)*x",
                              "((((.{0,32}){0,32}){0,32}){0,32}){0,32}x", "(((^|.){32}){32}){32}x"}) {
    check(!Pattern(pattern).matches(q), pattern);
  }
  check(std::chrono::steady_clock::now() - start < std::chrono::seconds(2), "patterns that would hang");
}

/// Each case changes a sound checkpoint; the message must hold the text.
struct Damage {
  const char* part;
  std::function<void(Tiny&)> change;
};

const Damage kDamaged[] = {
    {"model.norm.weight", [](Tiny& t) { t.tensors.erase("model.norm.weight"); }},
    {"weight_scale", [](Tiny& t) { t.tensors.erase(std::string(kQ) + ".weight_scale"); }},
    {"NaN", [](Tiny& t) { t.tensors[std::string(kQ) + ".weight_scale"].data.replace(94, 2, "\xC0\x7F"); }},
    {"infinite", [](Tiny& t) { t.tensors[std::string(kQ) + ".weight_scale"].data.replace(0, 2, "\x80\x7F"); }},
    {"negative", [](Tiny& t) { t.tensors[std::string(kQ) + ".weight_scale"].data.replace(2, 2, "\x80\xBF"); }},
    {"asks for [48, 48]", [](Tiny& t) { t.tensors[std::string(kQ) + ".weight"].shape = {24, 96}; }},
    {"does not fill", [](Tiny& t) { t.tensors["lm_head.weight"].shape = {std::int64_t{1} << 62, 4}; }},
    {"key vocab_size", [](Tiny& t) { t.config["vocab_size"] = "80.0"; }},
    {"model.layers.2.", [](Tiny& t) { t.config["num_hidden_layers"] = "2147483647"; }},
    {"key rms_norm_eps", [](Tiny& t) { t.config["rms_norm_eps"] = "1e-60"; }},
};

const Damage kUnsupported[] = {
    {"model_type", [](Tiny& t) { t.config["model_type"] = "\"llama5\""; }},
    {"'no_use'", [](Tiny& t) { t.bf16("no_use", {1}, 0); }},
    {"F7", [](Tiny& t) { t.tensors["lm_head.weight"].dtype = "F7"; }},
    {"fake-quantized", [](Tiny& t) { t.bf16(std::string(kQ) + ".weight", {48, 48}, 0x3F80); }},
    {"no quantization config", [](Tiny& t) { t.config.erase("quantization_config"); }},
    {"quant_method", [](Tiny& t) { t.config["quantization_config"] = R"({"quant_method": "awq"})"; }},
};

void test_folders(const std::filesystem::path& scratch) {
  const std::string folder = (scratch / "model").string();
  const LlamaWeights sound = read_llama(Tiny().write(folder));
  check(sound.layers.size() == 2 && sound.layers[1].q_proj.weight_scale.size() == 48, "a sound checkpoint");
  check(sound.layers[0].q_proj.codes != nullptr && sound.layers[0].q_proj.weight == nullptr, "FP8 projections");
  for (const Damage& damage : kDamaged) {
    Tiny tiny;
    damage.change(tiny);
    refuses<CheckpointError>(damage.part, damage.part, [&] { read_llama(tiny.write(folder)); });
  }
  for (const Damage& damage : kUnsupported) {
    Tiny tiny;
    damage.change(tiny);
    refuses<UnsupportedError>(damage.part, damage.part, [&] { read_llama(tiny.write(folder)); });
  }
  refuses<CheckpointError>("no folder", "is not a folder", [&] { read_llama(folder + "/nowhere"); });
  const std::string file = Tiny().file();
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{300}, file.size() - 1}) {
    refuses<CheckpointError>("cut", "model.safetensors",
                             [&] { read_llama(Tiny().write(folder, file.substr(0, size))); });
  }
}

/// Tensors at every remainder of addresses: views or copies of the same bits.
void test_alignment(const std::filesystem::path& scratch) {
  const Tiny plain;
  const std::string& expected = plain.tensors.at("model.norm.weight").data;
  for (const char* padding : {"", " ", "  ", "   "}) {
    Tiny tiny;
    tiny.padding = padding;
    const LlamaWeights weights = read_llama(tiny.write(scratch / "aligned"));
    check(reinterpret_cast<std::uintptr_t>(weights.norm) % alignof(bf16) == 0, "aligned");
    check(std::memcmp(weights.norm, expected.data(), expected.size()) == 0, "the same bits");
  }
}

}  // namespace

int main(int, char** arguments) {
  test_json();
  test_values();
  test_patterns();
  test_folders(arguments[1]);
  test_alignment(arguments[1]);
  return test::finish("reader");
}
