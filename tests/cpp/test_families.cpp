// SPDX-License-Identifier: Apache-2.0
// The checkpoint reader on Llama 4 and Mllama, blocks of scales, FP8 caches and names in every spelling.
#include <functional>
#include <sstream>

#include "check.h"
#include "checkpoint/config.h"
#include "tiny.h"

namespace {

using namespace fp8ref;
using test::check;
using test::refuses;
using test::Tiny;

using Change = std::function<void(Tiny&)>;

const std::string kSelf = "model.layers.0.self_attn.", kFeed = "model.layers.1.feed_forward.",
                  kExperts = kFeed + "experts.";

/// A layer as a word: what LayerKind says of it.
std::string word(const LayerKind& kind) {
  std::string out = kind.cross                              ? "cross"
                    : !kind.rope                            ? "nope"
                    : *kind.rope == RopeLayout::interleaved ? "rope"
                                                            : "half";
  if (kind.chunk > 0) out += "/" + std::to_string(kind.chunk);
  if (kind.qk_norm) out += "/norm";
  if (kind.temperature) out += "/temperature";
  return out + (kind.moe ? "/moe" : "");
}

std::string words(const LlamaWeights& weights) {
  std::string out;
  for (const LlamaLayerWeights& layer : weights.layers) {
    if (!out.empty()) out += ' ';
    out += word(layer.kind);
    check(layer.moe.has_value() == layer.kind.moe && layer.cross.has_value() == layer.kind.cross, "weights of a kind");
    check((layer.mlp.gate_proj.out == 0) == layer.kind.moe, "an MLP or experts");
  }
  return out;
}

/// A family with some keys changed, and its layers.
struct Kinds {
  Family family;
  Change change;
  const char* layers;
};

const char kLlama4[] = "rope/4/norm rope/4/norm/moe rope/4/norm nope/temperature/moe";

const Kinds kKinds[] = {
    {Family::llama, [](Tiny&) {}, "half half"},
    {Family::llama4, [](Tiny&) {}, kLlama4},
    {Family::llama4, [](Tiny& t) { t.nest("llama4"); }, kLlama4},
    {Family::llama4, [](Tiny& t) { t.config["moe_layers"] = "[3, 1]", t.number("interleave_moe_layer_step", 1); },
     kLlama4},
    {Family::llama4,
     [](Tiny& t) { t.config["no_rope_layers"] = "[1, 1, 1, 0]", t.number("no_rope_layer_interval", 2); }, kLlama4},
    {Family::llama4, [](Tiny& t) { t.config["no_rope_layers"] = "[]"; }, kLlama4},
    {Family::llama4,
     [](Tiny& t) {
       t.config["layer_types"] = R"(["chunked_attention", "chunked_attention", "chunked_attention", "full_attention"])";
     },
     kLlama4},
    {Family::llama4, [](Tiny& t) { t.config["no_rope_layers"] = "[0, 1, 0, 1]"; },
     "nope/temperature rope/4/norm/moe nope/temperature rope/4/norm/moe"},
    {Family::llama4, [](Tiny& t) { t.config["attention_chunk_size"] = "null"; },
     "rope/norm rope/norm/moe rope/norm nope/temperature/moe"},
    {Family::llama4, [](Tiny& t) { t.config.erase("attention_chunk_size"); },
     "rope/8192/norm rope/8192/norm/moe rope/8192/norm nope/temperature/moe"},
    {Family::llama4, [](Tiny& t) { t.config["use_qk_norm"] = "false", t.config["attn_temperature_tuning"] = "0"; },
     "rope/4 rope/4/moe rope/4 nope/moe"},
    {Family::mllama, [](Tiny&) {}, "half cross half cross"},
    {Family::mllama, [](Tiny& t) { t.nest("mllama"); }, "half cross half cross"},
};

void test_kinds(const std::string& folder) {
  for (const Kinds& kinds : kKinds) {
    Tiny tiny(kinds.family);
    kinds.change(tiny);
    const LlamaWeights weights = read_llama(tiny.write(folder));
    check(words(weights) == kinds.layers, words(weights) + ", expected " + kinds.layers);
    check(weights.config.family == kinds.family, "the family");
    const std::int64_t more = kinds.family == Family::mllama ? 8 : 0;
    check(weights.config.embedding_rows == Tiny::kVocab + more, "rows of the embedding");
  }
}

/// The numbers of an empty config, as text.
std::string defaults(const char* model_type) {
  const std::string text = std::string(R"({"model_type": ")") + model_type + R"(", "text_config": {}})";
  const checkpoint::Object object = checkpoint::parse_object(text, "config.json", "it");
  const checkpoint::Section section("config.json", &object), none("none", nullptr);
  const LlamaConfig c = read_model(section, none).numbers;
  std::ostringstream out;
  for (const std::int64_t size :
       {c.vocab_size, c.embedding_rows, c.hidden_size, c.intermediate_size, c.num_hidden_layers, c.num_attention_heads,
        c.num_key_value_heads, c.head_dim, c.max_position_embeddings}) {
    out << size << " ";
  }
  out << c.rms_norm_eps << " " << c.rope_theta;
  if (c.moe)
    out << " " << c.moe->num_local_experts << " " << c.moe->num_experts_per_tok << " " << c.moe->intermediate_size;
  for (const std::int64_t id : c.eos_token_ids) out << " eos " << id;
  if (c.temperature) out << " " << c.temperature->floor_scale << " " << c.temperature->attn_scale;
  return out.str();
}

void test_defaults() {
  const std::pair<const char*, const char*> cases[] = {
      {"llama", "32000 32000 4096 11008 32 32 32 128 2048 1e-06 10000 eos 2"},
      {"llama4", "202048 202048 5120 16384 48 40 8 128 131072 1e-05 500000 16 1 8192 eos 2 8192 0.1"},
      {"mllama", "128256 128264 4096 14336 40 32 8 128 131072 1e-05 500000 eos 128001"},
  };
  for (const auto& [model, expected] : cases) check(defaults(model) == expected, std::string(model) + defaults(model));
}

/// Every spelling of the names, and a mixture, of a checkpoint whose config names modules in yet another.
void test_names(const std::string& folder) {
  const std::pair<const char*, const char*> prefixes[] = {
      {"model.", "lm_head."},
      {"language_model.model.", "language_model.lm_head."},
      {"model.language_model.", "lm_head."},
      {"model.language_model.", "model.lm_head."},
  };
  for (const auto& [model, lm_head] : prefixes) {
    Tiny tiny(Family::mllama);
    tiny.respell(model, lm_head);
    for (const char* name : {"vision_model.x", "model.vision_model.x", "multi_modal_projector.weight",
                             "model.multi_modal_projector.linear_1.weight"}) {
      tiny.bf16(name, {3}, 0x3F80);
    }
    tiny.bf16(std::string(model) + "layers.0.self_attn.rotary_emb.inv_freq", {4}, 0x3F80);
    check(words(read_llama(tiny.write(folder))) == "half cross half cross", model);
    tiny.bf16(std::string(model) + "no_use", {1}, 0);
    refuses<UnsupportedError>("a leftover", model, [&] { read_llama(tiny.write(folder)); });
  }
  Tiny twice(Family::mllama);
  twice.bf16("model.language_model.norm.weight", {Tiny::kHidden}, 0x3F80);
  refuses<CheckpointError>("one name twice", "model.language_model.norm.weight",
                           [&] { read_llama(twice.write(folder)); });
  for (const char* spelled : {"model.layers.0", "language_model.model.layers.0", "model.language_model.layers.0"}) {
    Tiny groups;  // the first group decides, if its name for the module is understood
    groups.config["quantization_config"] =
        R"({"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups":
            {"FP8": [")" +
        std::string(spelled) + R"(.self_attn.q_proj"], "FP8_DYNAMIC": ["Linear"]}})";
    refuses<CheckpointError>(spelled, "activations are static", [&] { read_llama(groups.write(folder)); });
    groups.scale(kSelf + "q_proj.input_scale", {});
    const LlamaWeights weights = read_llama(groups.write(folder));
    check(weights.layers[0].q_proj.input_scale && !weights.layers[0].k_proj.input_scale, spelled);
  }
}

void test_scales(const std::string& folder) {
  Tiny blocks;
  blocks.quantize_in_blocks();
  const MlpWeights mlp = read_llama(blocks.write(folder)).layers[1].mlp;
  check(mlp.gate_proj.block_scales && mlp.gate_proj.weight_scale.size() == 2, "(136, 48) has 2x1 blocks");
  check(mlp.down_proj.block_scales && mlp.down_proj.weight_scale.size() == 2, "(48, 136) has 1x2 blocks");
  const std::pair<const char*, const char*> spellings[] = {{"k_scale", "v_scale"},
                                                           {"kv_scale", "kv_scale"},
                                                           {"k_proj.output_scale", "v_proj.output_scale"},
                                                           {"k_proj.k_scale", "v_proj.v_scale"}};
  for (const auto& [k, v] : spellings) {
    Tiny tiny(Family::llama4);
    tiny.quantize_cache();
    for (const char* name : {"k_scale", "v_scale"}) tiny.tensors.erase(kSelf + name);
    tiny.tensors[kSelf + k] = {"F32", {}, std::string("\0\0\x40\x40", 4)};
    if (std::string(k) != v) tiny.tensors[kSelf + v] = {"BF16", {1}, std::string("\x00\x3F", 2)};
    const LlamaWeights weights = read_llama(tiny.write(folder));
    const float expected_v = std::string(k) == v ? 3.0F : 0.5F;
    check(weights.config.fp8_kv_cache && weights.layers[0].k_scale == 3 && weights.layers[0].v_scale == expected_v, k);
    check(weights.layers[1].k_scale == 1 && weights.layers[1].v_scale == 1, "1 where a layer has none");
    tiny.config["quantization_config"] = Tiny().config["quantization_config"];
    check(read_llama(tiny.write(folder)).layers[0].k_scale == 1, "passed over where the cache is not FP8");
  }
  Tiny autofp8;
  autofp8.quantize_statically();
  const LlamaWeights weights = read_llama(autofp8.write(folder));
  const Projection& q = weights.layers[0].q_proj;
  check(weights.config.fp8_kv_cache && q.weight_scale.size() == 1 && q.input_scale, "AutoFP8 with a static cache");
}

/// Each case changes a sound checkpoint; the message must hold the text.
struct Damage {
  Family family;
  const char* part;
  Change change;
};

Change set(const char* key, const char* text) {
  return [=](Tiny& t) { t.config[key] = text; };
}

/// A change inside of text_config.
Change nested(const char* outer, const char* text_config) {
  return [=](Tiny& t) { t.nest(outer), t.config["text_config"] = text_config; };
}

Change cache(const Change& change) {
  return [=](Tiny& t) { t.quantize_cache(), change(t); };
}

Change blocks(const Change& change) {
  return [=](Tiny& t) { t.quantize_in_blocks(), change(t); };
}

const Damage kDamaged[] = {
    {Family::llama4, "text_config", [](Tiny& t) { t.nest("llama4"), t.config.erase("text_config"); }},
    {Family::llama4, "text_config", nested("llama4", "[]")},
    {Family::llama4, "num_experts_per_tok", set("num_experts_per_tok", "5")},
    {Family::llama4, "num_experts_per_tok", set("num_experts_per_tok", "0")},
    {Family::llama4, "num_local_experts", set("num_local_experts", "1048577")},
    {Family::llama4, "router", set("num_local_experts", "1048576")},
    {Family::llama4, "experts.3.gate_proj.weight", [](Tiny& t) { t.tensors.erase(kExperts + "3.gate_proj.weight"); }},
    {Family::llama4, "moe_layers", set("moe_layers", "[4]")},
    {Family::llama4, "moe_layers", set("moe_layers", "[-1]")},
    {Family::llama4, "moe_layers", set("moe_layers", "[true]")},
    {Family::llama4, "interleave_moe_layer_step", set("interleave_moe_layer_step", "0")},
    {Family::llama4, "no_rope_layer_interval", set("no_rope_layer_interval", "0")},
    {Family::llama4, "no_rope_layers", set("no_rope_layers", "[1, 1, 0]")},
    {Family::llama4, "no_rope_layers", set("no_rope_layers", "[1, 1, 1, 2]")},
    {Family::llama4, "layer_types", set("layer_types", "[]")},
    {Family::llama4, "layer_types", set("layer_types", "[1, 1, 1, 1]")},
    {Family::llama4, "attention_chunk_size", set("attention_chunk_size", "0")},
    {Family::llama4, "attention_chunk_size", set("attention_chunk_size", "16777217")},
    {Family::llama4, "use_qk_norm", set("use_qk_norm", "1")},
    {Family::llama4, "attn_temperature_tuning", set("attn_temperature_tuning", "1.5")},
    {Family::llama4, "floor_scale", set("floor_scale", "1e-60")},
    {Family::llama4, "attn_scale", set("attn_scale", "0")},
    {Family::llama4, "gate_up_proj", [](Tiny& t) { t.fuse_experts(), t.tensors.erase(kExperts + "gate_up_proj"); }},
    {Family::llama4, "gate_up_proj",
     [](Tiny& t) { t.fuse_experts(), t.tensors[kExperts + "gate_up_proj"].shape = {4, 80, 48}; }},
    {Family::llama4, "weight_scale", [](Tiny& t) { t.tensors.erase(kExperts + "2.up_proj.weight_scale"); }},
    {Family::llama4, "2147483647",
     [](Tiny& t) { t.number("num_hidden_layers", 2147483647), set("layer_types", "[]")(t); }},
    {Family::llama4, "model.layers.4.", set("num_hidden_layers", "2147483647")},
    {Family::mllama, "cross_attention_layers", set("cross_attention_layers", "[4]")},
    {Family::mllama, "cross_attention_layers", set("cross_attention_layers", "[1, 3, 1]")},
    {Family::mllama, "cross_attention_layers", set("cross_attention_layers", "null")},
    {Family::mllama, "embed_tokens",
     [](Tiny& t) { t.bf16("model.embed_tokens.weight", {Tiny::kVocab, Tiny::kHidden}, 0); }},
    {Family::mllama, "cross_attn_attn_gate", [](Tiny& t) { t.tensors.erase("model.layers.1.cross_attn_attn_gate"); }},
    {Family::mllama, "q_norm", [](Tiny& t) { t.bf16("model.layers.1.cross_attn.q_norm.weight", {Tiny::kHidden}, 0); }},
    {Family::llama, "v_scale", cache([](Tiny& t) { t.tensors.erase(kSelf + "v_scale"); })},
    {Family::llama, "kv_scale", cache([](Tiny& t) { t.scale(kSelf + "kv_scale", {}); })},
    {Family::llama, "k_scale", cache([](Tiny& t) { t.scale(kSelf + "k_scale", {2, 1, 1}); })},
    {Family::llama, "zero", cache([](Tiny& t) { t.tensors[kSelf + "k_scale"].data = std::string(2, '\0'); })},
    {Family::llama, "got [136, 1]",
     blocks([](Tiny& t) { t.scale("model.layers.0.mlp.up_proj.weight_scale", {Tiny::kWide, 1}); })},
    {Family::llama, "input_scale", blocks([](Tiny& t) { t.scale(kSelf + "q_proj.input_scale", {}); })},
};

const Damage kUnsupported[] = {
    {Family::llama4, "text_config.model_type", nested("llama4", R"({"model_type": "llama"})")},
    {Family::llama4, "layer_types",
     set("layer_types", R"(["chunked_attention", "full_attention", "chunked_attention", "full_attention"])")},
    {Family::llama4, "hidden_act", set("hidden_act", "\"gelu\"")},
    {Family::mllama, "tie_word_embeddings", set("tie_word_embeddings", "true")},
    {Family::llama4, "layer_types", set("layer_types", R"(["x", "x", "x", "x"])")},
    {Family::mllama, "hidden_activation", set("hidden_activation", "\"gelu\"")},
    {Family::llama4, "router", [](Tiny& t) { t.tensors[kFeed + "router.weight"].dtype = "F16"; }},
    {Family::llama4, "gate_up_proj",
     [](Tiny& t) { t.fuse_experts(), t.tensors[kExperts + "gate_up_proj"].dtype = "F16"; }},
    {Family::llama4, "experts.0.",
     [](Tiny& t) {
       const auto single = t.tensors;
       t.fuse_experts();
       t.tensors.insert(single.begin(), single.end());
     }},
    {Family::llama4, "experts.4.up_proj", [](Tiny& t) { t.bf16(kExperts + "4.up_proj.weight", {1}, 0); }},
    {Family::llama4, "another way",
     [](Tiny& t) {
       t.tensors.erase(kExperts + "2.up_proj.weight_scale");
       t.bf16(kExperts + "2.up_proj.weight", {Tiny::kExpertWide, Tiny::kHidden}, 0x3D00);
     }},
    {Family::llama4, "another way", [](Tiny& t) { t.scale(kExperts + "2.up_proj.weight_scale", {1}); }},
    {Family::llama, "kv_cache_scheme.strategy",
     [](Tiny& t) {
       t.config["quantization_config"] = Tiny::scheme(
           R"("strategy": "channel")", R"("strategy": "token", "dynamic": true)", R"("strategy": "attn_head")");
     }},
    {Family::mllama, "inv_freq", [](Tiny& t) { t.bf16("model.layers.1.self_attn.rotary_emb.inv_freq", {4}, 0); }},
    {Family::mllama, "k_scale", [](Tiny& t) { t.quantize_cache(), t.scale("model.layers.1.self_attn.k_scale", {1}); }},
    {Family::llama, "block_structure", blocks([](Tiny& t) {
       t.config["quantization_config"] = Tiny::scheme(R"("strategy": "block", "block_structure": [64, 64])",
                                                      R"("strategy": "group", "group_size": 128, "dynamic": true)");
     })},
    {Family::llama, "block_structure", blocks([](Tiny& t) {
       t.config["quantization_config"] = Tiny::scheme(R"("strategy": "block", "block_structure": [128, 128, 128])",
                                                      R"("strategy": "group", "group_size": 128, "dynamic": true)");
     })},
    {Family::llama, "input_activations", blocks([](Tiny& t) {
       t.config["quantization_config"] = Tiny::scheme(R"("strategy": "block", "block_structure": "128x128")",
                                                      R"("strategy": "token", "dynamic": true)");
     })},
};

void test_damage(const std::string& folder) {
  for (const Damage& damage : kDamaged) {
    Tiny tiny(damage.family);
    damage.change(tiny);
    refuses<CheckpointError>(damage.part, damage.part, [&] { read_llama(tiny.write(folder)); });
  }
  for (const Damage& damage : kUnsupported) {
    Tiny tiny(damage.family);
    damage.change(tiny);
    refuses<UnsupportedError>(damage.part, damage.part, [&] { read_llama(tiny.write(folder)); });
  }
}

}  // namespace

int main(int, char** arguments) {
  const std::string folder = std::string(arguments[1]) + "/model";
  test_kinds(folder);
  test_defaults();
  test_names(folder);
  test_scales(folder);
  test_damage(folder);
  return test::finish("families");
}
