// SPDX-License-Identifier: Apache-2.0
// The weights of a Llama out of a folder: every tensor checked, every tensor accounted for.
#include <cmath>
#include <unordered_set>

#include "checkpoint/config.h"
#include "checkpoint/files.h"
#include "fp8ref/round.h"
#include "fpenv.h"

namespace fp8ref::checkpoint {
namespace {

using Shape = std::vector<std::int64_t>;

std::string text(const Shape& shape) {
  std::string out = "[";
  for (const std::int64_t extent : shape) {
    if (out.size() > 1) out += ", ";
    out += std::to_string(extent);
  }
  return out + "]";
}

/// What the pointers of LlamaWeights point into.
struct Storage final : WeightStorage {
  explicit Storage(const std::string& path) : folder(path) {}

  void prefetch(std::span<const std::byte> bytes) const override {
    for (const auto& file : folder.files()) file->prefetch(bytes);
  }
  void release(std::span<const std::byte> bytes) const override {
    for (const auto& file : folder.files()) file->release(bytes);
  }

  Folder folder;
  std::vector<std::unique_ptr<bf16[]>> copies;  // of tensors at odd addresses
};

template <class T>
void widen_all(const char* data, std::vector<float>& out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, data + i * sizeof(T), sizeof(T));
    out[i] = widen(value);
  }
}

/// Elements of F32, BF16 or F16, widened exactly.
std::vector<float> widened(const Tensor& tensor) {
  std::vector<float> out(tensor.size / (tensor.dtype == "F32" ? 4 : 2));
  if (tensor.dtype == "F32") {
    std::memcpy(out.data(), tensor.data, tensor.size);
  } else if (tensor.dtype == "BF16") {
    widen_all<bf16>(tensor.data, out);
  } else {
    widen_all<fp16>(tensor.data, out);
  }
  return out;
}

class Reader {
 public:
  explicit Reader(const std::string& path)
      : storage_(std::make_shared<Storage>(path)),
        folder_(storage_->folder),
        config_(read_config(folder_.config(), folder_.generation_config())),
        quantization_(folder_.config()) {}

  LlamaWeights read() {
    LlamaWeights out;
    const Shape table{config_.vocab_size, config_.hidden_size};
    out.config = config_;
    out.embed_tokens = values("model.embed_tokens.weight", table);
    for (std::int64_t i = 0; i < config_.num_hidden_layers; ++i) out.layers.push_back(layer(i));
    out.norm = values("model.norm.weight", {config_.hidden_size});
    out.lm_head = config_.tie_word_embeddings ? out.embed_tokens : values("lm_head.weight", table);
    check_leftovers();
    for (const auto& file : folder_.files()) file->expect(MappedFile::Order::sequential);
    out.storage = storage_;
    return out;
  }

 private:
  std::string what(const Tensor& tensor, const std::string& message) const {
    return tensor.file + ": tensor " + quote(tensor.name) + ": " + message;
  }

  const Tensor& require(const std::string& name) {
    const Tensor* tensor = folder_.find(name);
    if (tensor == nullptr) throw damaged(folder_.path(), "tensor " + quote(name) + " is missing");
    used_.insert(name);
    return *tensor;
  }

  /// A tensor of the given shape and one of the dtypes. [CKPT-NAMES], [CKPT-DTYPES]
  const Tensor& tensor(const std::string& name, const Shape& shape, std::initializer_list<std::string_view> dtypes) {
    const Tensor& found = require(name);
    if (found.shape != shape) {
      throw CheckpointError(what(found, "has shape " + text(found.shape) + ", config.json asks for " + text(shape)));
    }
    std::string supported;
    for (const std::string_view dtype : dtypes) {
      if (found.dtype == dtype) return found;
      supported += (supported.empty() ? "" : ", ") + std::string(dtype);
    }
    const std::string message = "dtype " + std::string(found.dtype) + " is not supported here; supported: ";
    throw UnsupportedError(what(found, message + supported));
  }

  /// The mapped bytes as bf16; a copy where they lie at an odd address.
  const bf16* as_bf16(const Tensor& tensor) {
    if (reinterpret_cast<std::uintptr_t>(tensor.data) % alignof(bf16) == 0) {
      return reinterpret_cast<const bf16*>(tensor.data);
    }
    storage_->copies.push_back(std::make_unique<bf16[]>(tensor.size / sizeof(bf16)));
    bf16* copy = storage_->copies.back().get();
    std::memcpy(copy, tensor.data, tensor.size);
    return copy;
  }

  const bf16* values(const std::string& name, const Shape& shape) { return as_bf16(tensor(name, shape, {"BF16"})); }

  /// One scale, or one for each of `rows` rows. [CKPT-SCALE]
  std::vector<float> scale(const std::string& name, std::int64_t rows) {
    const Tensor& stored = require(name);
    const Shape& shape = stored.shape;
    if (shape != Shape{} && shape != Shape{1} && shape != Shape{rows} && shape != Shape{rows, 1}) {
      std::string message = "a scale has shape [], [1]";
      if (rows != 1) message += ", " + text({rows}) + " or " + text({rows, 1});
      throw CheckpointError(what(stored, message + ", got " + text(shape)));
    }
    std::vector<float> out = widened(tensor(name, shape, {"F32", "BF16", "F16"}));
    for (const float value : out) {
      if (std::isnan(value)) throw CheckpointError(what(stored, "the scale is NaN"));
      if (std::isinf(value)) throw CheckpointError(what(stored, "the scale is infinite"));
      if (std::signbit(value)) throw CheckpointError(what(stored, "the scale is negative"));
    }
    return out;
  }

  /// A linear layer. The tensor decides whether it is FP8. [CKPT-DTYPES]
  Projection projection(const std::string& module, std::int64_t out, std::int64_t in, bool has_bias) {
    Projection result;
    result.out = out;
    result.in = in;
    if (has_bias) result.bias = widened(tensor(module + ".bias", {out}, {"BF16"}));
    const Tensor& weight = tensor(module + ".weight", {out, in}, {"BF16", "F8_E4M3"});
    if (weight.dtype == "BF16") {
      for (const char* suffix : {".weight_scale", ".input_scale"}) {
        const Tensor* stray = folder_.find(module + suffix);
        if (stray == nullptr) continue;
        throw UnsupportedError(what(*stray, "a scale, but the weight is BF16: a fake-quantized checkpoint"));
      }
      result.weight = as_bf16(weight);
    } else {
      result.codes = reinterpret_cast<const e4m3*>(weight.data);
      read_scales(module, weight, result);
    }
    return result;
  }

  /// The scales of an FP8 projection. [CKPT-SCALE], [CKPT-ACTIVATIONS]
  void read_scales(const std::string& module, const Tensor& weight, Projection& result) {
    const std::string weight_scale = module + ".weight_scale", input_scale = module + ".input_scale";
    const Activations activations = quantization_.activations(module);
    if (folder_.find(weight_scale) == nullptr) {
      throw CheckpointError(what(weight, "is F8_E4M3, but " + quote(weight_scale) + " is missing"));
    }
    result.weight_scale = scale(weight_scale, result.out);
    const Tensor* input = folder_.find(input_scale);
    if (activations == Activations::per_token) {
      if (input == nullptr) return;
      throw CheckpointError(what(*input, "is here, but config.json says that activations are quantized per token"));
    }
    if (input == nullptr) {
      throw CheckpointError(what(weight, "activations are static, but " + quote(input_scale) + " is missing"));
    }
    result.input_scale = scale(input_scale, 1).front();
    if (!(*result.input_scale > 0)) throw CheckpointError(what(*input, "the scale is zero"));
  }

  LlamaLayerWeights layer(std::int64_t index) {
    const std::string prefix = "model.layers." + std::to_string(index) + ".";
    const std::int64_t hidden = config_.hidden_size, wide = config_.intermediate_size;
    const std::int64_t q = config_.num_attention_heads * config_.head_dim;
    const std::int64_t kv = config_.num_key_value_heads * config_.head_dim;
    auto attention = [&](const char* name, std::int64_t out, std::int64_t in) {
      return projection(prefix + "self_attn." + name, out, in, config_.attention_bias);
    };
    auto mlp = [&](const char* name, std::int64_t out, std::int64_t in) {
      return projection(prefix + "mlp." + name, out, in, config_.mlp_bias);
    };
    LlamaLayerWeights out;
    out.q_proj = attention("q_proj", q, hidden);
    out.k_proj = attention("k_proj", kv, hidden);
    out.v_proj = attention("v_proj", kv, hidden);
    out.o_proj = attention("o_proj", hidden, q);
    out.mlp.gate_proj = mlp("gate_proj", wide, hidden);
    out.mlp.up_proj = mlp("up_proj", wide, hidden);
    out.mlp.down_proj = mlp("down_proj", hidden, wide);
    out.input_layernorm = values(prefix + "input_layernorm.weight", {hidden});
    out.post_attention_layernorm = values(prefix + "post_attention_layernorm.weight", {hidden});
    return out;
  }

  /// A tensor that nothing reads means another model than the config describes. [CKPT-EXTRA]
  void check_leftovers() const {
    for (const Tensor& tensor : folder_.tensors()) {
      const bool ignorable = tensor.name.ends_with(".self_attn.rotary_emb.inv_freq") ||
                             (tensor.name == "lm_head.weight" && config_.tie_word_embeddings);
      if (ignorable || used_.contains(tensor.name)) continue;
      throw UnsupportedError(what(tensor, "the model that config.json describes has no use for it"));
    }
  }

  std::shared_ptr<Storage> storage_;
  const Folder& folder_;
  const LlamaConfig config_;
  const Quantization quantization_;
  std::unordered_set<std::string> used_;
};

}  // namespace
}  // namespace fp8ref::checkpoint

namespace fp8ref {

std::span<const std::byte> stored_bytes(const Projection& projection) {
  if (projection.codes != nullptr) {
    return std::as_bytes(std::span(projection.codes, static_cast<std::size_t>(projection.out * projection.in)));
  }
  const std::int64_t stride = projection.weight_stride, last = (projection.in - 1) * stride + projection.out;
  const std::int64_t count = stride == 0 ? projection.out * projection.in : last;
  return std::as_bytes(std::span(projection.weight, static_cast<std::size_t>(count)));
}

LlamaWeights read_llama(const std::string& folder) {
  const cpu::FpEnv env;  // numbers of the config are rounded to nearest
  return checkpoint::Reader(folder).read();
}

}  // namespace fp8ref
