// SPDX-License-Identifier: Apache-2.0
// Experts as a reader finds them: both layouts, nothing of them read while opening, and pages that are given back.
#include <unistd.h>

#include <cstring>
#include <memory>
#include <thread>

#if defined(__linux__)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#endif

#include "check.h"
#include "tiny.h"

namespace {

using namespace fp8ref;
using test::check;
using test::Tiny;

const std::string kExperts = "model.layers.1.feed_forward.experts.";

/// Element (o, i) of a projection in BF16.
bf16 element(const Projection& p, std::int64_t o, std::int64_t i) {
  return p.weight_stride == 0 ? p.weight[o * p.in + i] : p.weight[i * p.weight_stride + o];
}

/// Experts in two tensors against the definition of their layout. [CKPT-EXPERTS]
void test_fused(const std::string& folder) {
  for (const char* padding : {"", " "}) {  // as views, and as copies where they lie at odd addresses
    Tiny tiny(Family::llama4);
    tiny.fuse_experts();
    tiny.padding = padding;
    const LlamaWeights weights = read_llama(tiny.write(folder));
    const std::int64_t wide = Tiny::kExpertWide, hidden = Tiny::kHidden;
    const auto stored = [&](const char* name, std::int64_t place) {
      bf16 value;
      std::memcpy(&value, tiny.tensors.at(kExperts + name).data.data() + 2 * place, 2);
      return value.bits;
    };
    const std::vector<MlpWeights>& experts = weights.layers[1].moe->experts;
    check(experts.size() == Tiny::kExperts, "all experts");
    long wrong = 0;
    for (std::int64_t e = 0; e < Tiny::kExperts; ++e) {
      const MlpWeights& expert = experts[static_cast<std::size_t>(e)];
      for (std::int64_t w = 0; w < wide; ++w) {
        for (std::int64_t h = 0; h < hidden; ++h) {
          const std::int64_t row = (e * hidden + h) * 2 * wide;
          wrong += element(expert.gate_proj, w, h).bits != stored("gate_up_proj", row + w);
          wrong += element(expert.up_proj, w, h).bits != stored("gate_up_proj", row + wide + w);
          wrong += element(expert.down_proj, h, w).bits != stored("down_proj", (e * wide + w) * hidden + h);
        }
      }
    }
    check(wrong == 0, std::to_string(wrong) + " elements of fused experts differ");
    const auto bytes = stored_bytes(experts[1].up_proj);
    check(bytes.size() == 2 * static_cast<std::size_t>((hidden - 1) * 2 * wide + wide), "bytes of a fused projection");
  }
}

#if defined(__linux__)

using Bytes = std::span<const std::byte>;

const std::size_t kPage = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

/// The whole pages among some bytes.
Bytes pages(Bytes bytes) {
  const std::size_t before = (kPage - reinterpret_cast<std::uintptr_t>(bytes.data()) % kPage) % kPage;
  if (before >= bytes.size()) return {};
  return bytes.subspan(before, (bytes.size() - before) / kPage * kPage);
}

/// How many of them the system has read from their file.
std::size_t read_pages(Bytes bytes) {
  const Bytes whole = pages(bytes);
  const std::size_t count = whole.size() / kPage;
  const auto states = std::make_unique<unsigned char[]>(count);
  const int failed = mincore(const_cast<std::byte*>(whole.data()), whole.size(), states.get());
  check(failed == 0, "mincore");
  std::size_t out = 0;
  for (std::size_t i = 0; i < count; ++i) out += states[i] & 1;
  return out;
}

/// How many of them are in this process's memory: bit 63 of their entries in the page map.
std::size_t resident_pages(Bytes bytes) {
  const Bytes whole = pages(bytes);
  std::vector<std::uint64_t> entries(whole.size() / kPage);
  const int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  const auto offset = static_cast<off_t>(reinterpret_cast<std::uintptr_t>(whole.data()) / kPage * 8);
  const ssize_t size = static_cast<ssize_t>(entries.size() * 8);
  check(map >= 0 && pread(map, entries.data(), entries.size() * 8, offset) == size, "/proc/self/pagemap");
  close(map);
  std::size_t out = 0;
  for (const std::uint64_t entry : entries) out += entry >> 63;
  return out;
}

std::uint64_t sum(Bytes bytes) {
  std::uint64_t out = 0;
  for (const std::byte byte : bytes) out = out * 31 + static_cast<std::uint64_t>(byte);
  return out;
}

std::vector<const Projection*> parts(const MlpWeights& mlp) { return {&mlp.gate_proj, &mlp.up_proj, &mlp.down_proj}; }

/// Maverick at its true size but for the number of layers: a file of holes, of which only the header takes room.
std::string write_maverick(const std::filesystem::path& folder, std::int64_t layers) {
  const std::int64_t hidden = 5120, wide = 8192, experts = 128;
  std::string header = "{";
  std::uint64_t end = 0;
  const auto add = [&](const std::string& name, const char* dtype, std::int64_t rows, std::int64_t columns) {
    const bool flat = columns == 0, fp8 = *dtype == 'F';
    const std::uint64_t begin = end;
    end += static_cast<std::uint64_t>(rows * (flat ? 1 : columns) * (fp8 ? 1 : 2));
    header += (header.size() > 1 ? ",\"" : "\"") + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" +
              std::to_string(rows) + (flat ? "" : "," + std::to_string(columns)) + "],\"data_offsets\":[" +
              std::to_string(begin) + "," + std::to_string(end) + "]}";
  };
  const auto add_mlp = [&](const std::string& prefix, std::int64_t width, bool fp8) {
    for (const char* name : {"gate_proj", "up_proj", "down_proj"}) {
      const bool down = *name == 'd';
      add(prefix + name + ".weight", fp8 ? "F8_E4M3" : "BF16", down ? hidden : width, down ? width : hidden);
      if (fp8) add(prefix + name + ".weight_scale", "BF16", down ? hidden : width, 1);
    }
  };
  add("language_model.model.embed_tokens.weight", "BF16", 202048, hidden);
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string prefix = "language_model.model.layers." + std::to_string(i) + ".",
                      feed = prefix + "feed_forward.";
    for (const char* name : {"input_layernorm.weight", "post_attention_layernorm.weight"})
      add(prefix + name, "BF16", hidden, 0);
    for (const char* name : {"q", "k", "v", "o"}) {
      add(prefix + "self_attn." + name + "_proj.weight", "BF16", *name == 'k' || *name == 'v' ? 1024 : hidden, hidden);
    }
    if (i % 2 == 0) {
      add_mlp(feed, 16384, false);
      continue;
    }
    add(feed + "router.weight", "BF16", experts, hidden);
    add_mlp(feed + "shared_expert.", wide, false);
    for (std::int64_t e = 0; e < experts; ++e) add_mlp(feed + "experts." + std::to_string(e) + ".", wide, true);
  }
  add("language_model.model.norm.weight", "BF16", hidden, 0);
  add("language_model.lm_head.weight", "BF16", 202048, hidden);
  header += "}" + std::string((8 - (header.size() + 1) % 8) % 8, ' ');
  Tiny tiny;
  tiny.config = {{"model_type", "\"llama4\""},
                 {"quantization_config", tiny.config["quantization_config"]},
                 {"text_config", R"({"num_local_experts": 128, "interleave_moe_layer_step": 2, "use_qk_norm": false,
                                    "num_hidden_layers": )" +
                                     std::to_string(layers) + "}"}};
  const std::string path = tiny.write(folder, Tiny::joined(header, ""));
  std::filesystem::resize_file(folder / "model.safetensors", 8 + header.size() + end);
  return path;
}

/// Opening reads no page of a weight; reading one expert's ahead reads no page of another's. [CKPT-STREAM]
void test_streaming(const std::filesystem::path& folder) {
  const std::string path = write_maverick(folder, 4);
  const LlamaWeights weights = read_llama(path);
  std::size_t bytes = 0, read = 0;
  for (const LlamaLayerWeights& layer : weights.layers) {
    std::vector<const Projection*> all{&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj};
    const auto add = [&all](const MlpWeights& mlp) {
      for (const Projection* part : parts(mlp)) all.push_back(part);
    };
    if (layer.moe) {
      add(layer.moe->shared_expert);
      for (const MlpWeights& expert : layer.moe->experts) add(expert);
    } else {
      add(layer.mlp);
    }
    for (const Projection* projection : all) {
      bytes += stored_bytes(*projection).size();
      read += read_pages(stored_bytes(*projection));
    }
  }
  check(bytes > 30'000'000'000, "the size of two layers of experts: " + std::to_string(bytes));
  check(read == 0, std::to_string(read) + " pages of weights were read by opening");

  struct statfs system;
  if (statfs(path.c_str(), &system) != 0 || system.f_type == 0x01021994) return;  // tmpfs: memory reads nothing ahead

  const std::vector<MlpWeights>& experts = weights.layers[3].moe->experts;
  const Bytes chosen = stored_bytes(experts[5].gate_proj);
  check(chosen[chosen.size() / 2] == std::byte{0} && read_pages(chosen) > 1, "what follows a page is read too");
  weights.storage->prefetch(chosen);
  const std::size_t all = pages(chosen).size() / kPage;
  for (int i = 0; i < 1000 && read_pages(chosen) < all; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  check(read_pages(chosen) == all, "a weight that is needed soon is read");
  check(sum(chosen) == 0, "a hole reads as zeros");
  for (const Projection* other : {&experts[4].up_proj, &experts[5].down_proj, &experts[5].up_proj}) {
    check(read_pages(stored_bytes(*other)) == 0, "nothing of its neighbours");
  }
  std::filesystem::remove_all(folder);
}

/// Released pages leave memory, and whoever reads them again finds the same bits. (That other pages stay is up to the
/// system: where it maps more than a page at once, it may give back more.)
void test_release(const std::filesystem::path& folder) {
  for (const char* padding : {"", " "}) {
    Tiny tiny(Family::llama4);
    tiny.fuse_experts();
    for (const char* layer : {"1", "3"}) {  // of more than a page each
      const std::string experts = std::string("model.layers.") + layer + ".feed_forward.experts.";
      tiny.bf16(experts + "gate_up_proj", {Tiny::kExperts, Tiny::kHidden, 2 * 1000}, 0x3D00);
      tiny.bf16(experts + "down_proj", {Tiny::kExperts, 1000, Tiny::kHidden}, 0x3D00);
      const std::string shared = std::string("model.layers.") + layer + ".feed_forward.shared_expert.";
      for (const char* name : {"gate_proj", "up_proj"}) tiny.fp8(shared + name, 1000, Tiny::kHidden);
      tiny.fp8(shared + "down_proj", Tiny::kHidden, 1000);
    }
    tiny.number("intermediate_size", 1000);
    tiny.padding = padding;
    const LlamaWeights weights = read_llama(tiny.write(folder));
    const std::vector<MlpWeights>& experts = weights.layers[3].moe->experts;
    const Bytes one = stored_bytes(experts[1].down_proj);
    const bool mapped = tiny.file()[0] % 2 == 0;  // the header's length: else all of it is a copy
    const std::uint64_t before = sum(one);
    const std::size_t count = pages(one).size() / kPage;
    check(count > 10 && resident_pages(one) == count, "in memory after use");
    weights.storage->release(one);
    check(resident_pages(one) == (mapped ? 0 : count), mapped ? "released" : "copies are left alone");
    check(sum(one) == before, "the same bits afterwards");
  }
}

#endif

}  // namespace

int main(int, char** arguments) {
  const std::filesystem::path scratch(arguments[1]);
  test_fused((scratch / "fused").string());
#if defined(__linux__)
  test_streaming(scratch / "maverick");
  test_release(scratch / "release");
#endif
  return test::finish("experts");
}
