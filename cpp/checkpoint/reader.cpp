// SPDX-License-Identifier: Apache-2.0
// The weights of a Llama out of a folder: every tensor checked, every tensor accounted for.
#include "checkpoint/config.h"
#include "checkpoint/tensors.h"
#include "fpenv.h"

namespace fp8ref::checkpoint {
namespace {

constexpr std::int64_t kBlock = 128;  // rows and columns of a block of weights [CKPT-SCALE]

enum class Bias { none, there };

/// What k_scale and v_scale are called below self_attn; one name may stand for both. [CKPT-KV-SCALES]
struct KvNames {
  const char *k, *v;
};
constexpr KvNames kKvNames[] = {{"k_scale", "v_scale"},
                                {"kv_scale", "kv_scale"},
                                {"k_proj.output_scale", "v_proj.output_scale"},
                                {"k_proj.k_scale", "v_proj.v_scale"}};

/// True if two experts can be multiplied in one go. [CKPT-EXPERTS]
bool alike(const Projection& x, const Projection& y) {
  return (x.codes == nullptr) == (y.codes == nullptr) && x.input_scale.has_value() == y.input_scale.has_value() &&
         x.block_scales == y.block_scales && x.weight_scale.size() == y.weight_scale.size();
}

class Reader {
 public:
  explicit Reader(const std::string& path)
      : storage_(std::make_shared<Storage>(path)),
        tensors_(storage_),
        quantization_(storage_->folder.config()),
        model_(read_model(storage_->folder.config(), storage_->folder.generation_config())) {
    model_.numbers.fp8_kv_cache = quantization_.fp8_kv_cache();
  }

  LlamaWeights read() {
    const LlamaConfig& config = model_.numbers;
    LlamaWeights out;
    out.config = config;
    out.embed_tokens = tensors_.bf16_values("model.embed_tokens.weight", {config.embedding_rows, config.hidden_size});
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) out.layers.push_back(layer(i));
    out.norm = norm("model.norm");
    out.lm_head = lm_head(out.embed_tokens);
    tensors_.check_leftovers();
    for (const auto& file : storage_->folder.files()) file->expect(MappedFile::Order::sequential);
    out.storage = storage_;
    return out;
  }

 private:
  const bf16* norm(const std::string& module) {
    return tensors_.bf16_values(module + ".weight", {model_.numbers.hidden_size});
  }

  const bf16* lm_head(const bf16* embed_tokens) {
    constexpr char kName[] = "lm_head.weight";
    const LlamaConfig& config = model_.numbers;
    if (!config.tie_word_embeddings) return tensors_.bf16_values(kName, {config.vocab_size, config.hidden_size});
    tensors_.pass_over(kName);
    return embed_tokens;
  }

  /// A linear layer. The tensor decides whether it is FP8. [CKPT-DTYPES]
  Projection projection(const std::string& module, std::int64_t out, std::int64_t in, Bias bias) {
    Projection result;
    result.out = out;
    result.in = in;
    if (bias == Bias::there) result.bias = tensors_.widened(module + ".bias", {out});
    const Tensor& weight = tensors_.get(module + ".weight", {out, in}, {"BF16", "F8_E4M3"});
    if (weight.dtype == "BF16") {
      for (const char* suffix : {".weight_scale", ".input_scale"}) {
        const Tensor* stray = tensors_.find(module + suffix);
        if (stray == nullptr) continue;
        throw UnsupportedError(what(*stray, "a scale, but the weight is BF16: a fake-quantized checkpoint"));
      }
      result.weight = tensors_.as_bf16(weight);
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
    if (tensors_.find(weight_scale) == nullptr) {
      throw CheckpointError(what(weight, "is F8_E4M3, but " + quote(weight_scale) + " is missing"));
    }
    const std::int64_t out = result.out, in = result.in;
    result.block_scales = activations == Activations::group_128;
    const Shape blocks{(out + kBlock - 1) / kBlock, (in + kBlock - 1) / kBlock};
    result.weight_scale = result.block_scales ? tensors_.scales(weight_scale, {blocks})
                                              : tensors_.scales(weight_scale, {{}, {1}, {out}, {out, 1}});
    const Tensor* input = tensors_.find(input_scale);
    if (activations == Activations::per_tensor_static) {
      if (input == nullptr) {
        throw CheckpointError(what(weight, "activations are static, but " + quote(input_scale) + " is missing"));
      }
      result.input_scale = tensors_.positive_scale(input_scale);
    } else if (input != nullptr) {
      throw CheckpointError(what(*input, "is here, but config.json says that activations are quantized dynamically"));
    }
  }

  MlpWeights mlp(const std::string& prefix, std::int64_t width, Bias bias) {
    const std::int64_t hidden = model_.numbers.hidden_size;
    MlpWeights out;
    out.gate_proj = projection(prefix + "gate_proj", width, hidden, bias);
    out.up_proj = projection(prefix + "up_proj", width, hidden, bias);
    out.down_proj = projection(prefix + "down_proj", hidden, width, bias);
    return out;
  }

  MoeWeights moe(const std::string& prefix) {
    const MoeConfig& config = *model_.numbers.moe;
    MoeWeights out;
    out.router = tensors_.bf16_values(prefix + "router.weight", {config.num_local_experts, model_.numbers.hidden_size});
    const std::string experts = prefix + "experts.";
    const bool fused = tensors_.find(experts + "gate_up_proj") != nullptr || tensors_.find(experts + "down_proj");
    out.experts = fused ? fused_experts(experts) : single_experts(experts);
    out.shared_expert = mlp(prefix + "shared_expert.", config.intermediate_size, Bias::none);
    return out;
  }

  /// One by one, each with scales of its own. [CKPT-EXPERTS]
  std::vector<MlpWeights> single_experts(const std::string& prefix) {
    const MoeConfig& config = *model_.numbers.moe;
    std::vector<MlpWeights> out;  // grows with what is found: the number of experts is not trusted
    for (std::int64_t e = 0; e < config.num_local_experts; ++e) {
      const std::string expert = prefix + std::to_string(e) + ".";
      out.push_back(mlp(expert, config.intermediate_size, Bias::none));
      for (const auto& [part, name] :
           {std::pair{&MlpWeights::gate_proj, "gate_proj"}, std::pair{&MlpWeights::up_proj, "up_proj"},
            std::pair{&MlpWeights::down_proj, "down_proj"}}) {
        if (alike(out.front().*part, out.back().*part)) continue;
        const Tensor& weight = *tensors_.find(expert + name + ".weight");
        throw UnsupportedError(what(weight, "is quantized in another way than expert 0; supported: all alike"));
      }
    }
    return out;
  }

  /// All in two tensors that are multiplied as x @ W. [CKPT-EXPERTS]
  std::vector<MlpWeights> fused_experts(const std::string& prefix) {
    const MoeConfig& config = *model_.numbers.moe;
    const std::int64_t count = config.num_local_experts, width = config.intermediate_size;
    const std::int64_t hidden = model_.numbers.hidden_size;
    const bf16* gate_up = tensors_.bf16_values(prefix + "gate_up_proj", {count, hidden, 2 * width});
    const bf16* down = tensors_.bf16_values(prefix + "down_proj", {count, width, hidden});
    const auto transposed = [](const bf16* weight, std::int64_t out, std::int64_t in, std::int64_t stride) {
      Projection result;
      result.out = out;
      result.in = in;
      result.weight = weight;
      result.weight_stride = stride;
      return result;
    };
    std::vector<MlpWeights> out;
    for (std::int64_t e = 0; e < count; ++e) {
      const bf16* both = gate_up + e * hidden * 2 * width;
      out.push_back({transposed(both, width, hidden, 2 * width), transposed(both + width, width, hidden, 2 * width),
                     transposed(down + e * width * hidden, hidden, width, hidden)});
    }
    return out;
  }

  void read_attention(const std::string& prefix, Bias bias, LlamaLayerWeights& out) {
    const LlamaConfig& config = model_.numbers;
    const std::int64_t q = config.num_attention_heads * config.head_dim;
    const std::int64_t kv = config.num_key_value_heads * config.head_dim;
    out.q_proj = projection(prefix + "q_proj", q, config.hidden_size, bias);
    out.k_proj = projection(prefix + "k_proj", kv, config.hidden_size, bias);
    out.v_proj = projection(prefix + "v_proj", kv, config.hidden_size, bias);
    out.o_proj = projection(prefix + "o_proj", config.hidden_size, q, bias);
  }

  CrossWeights cross(const std::string& prefix) {
    const Shape head{model_.numbers.head_dim};
    CrossWeights out;
    out.q_norm = tensors_.bf16_values(prefix + "cross_attn.q_norm.weight", head);
    out.k_norm = tensors_.bf16_values(prefix + "cross_attn.k_norm.weight", head);
    out.attn_gate = tensors_.bf16_values(prefix + "cross_attn_attn_gate", {1});
    out.mlp_gate = tensors_.bf16_values(prefix + "cross_attn_mlp_gate", {1});
    return out;
  }

  /// The scales of an FP8 cache; of another one they are passed over. [CKPT-KV-SCALES], [CKPT-EXTRA]
  void read_cache(const std::string& prefix, LlamaLayerWeights& out) {
    const Tensor* seen = nullptr;
    for (const KvNames& names : kKvNames) {
      const std::string k = prefix + names.k, v = prefix + names.v;
      const Tensor *has_k = tensors_.find(k), *has_v = tensors_.find(v);
      if (!model_.numbers.fp8_kv_cache) {
        tensors_.pass_over(k);
        tensors_.pass_over(v);
        continue;
      }
      if (has_k == nullptr && has_v == nullptr) continue;
      const Tensor& found = has_k != nullptr ? *has_k : *has_v;
      if (seen != nullptr) {
        throw CheckpointError(what(found, "the layer has scales of the cache under " + quote(seen->name) + " too"));
      }
      if (has_k == nullptr || has_v == nullptr) {
        throw CheckpointError(what(found, "is here, but " + quote(has_k == nullptr ? k : v) + " is missing"));
      }
      seen = &found;
      out.k_scale = tensors_.positive_scale(k);
      out.v_scale = tensors_.positive_scale(v);
    }
  }

  LlamaLayerWeights layer(std::int64_t index) {
    const LlamaConfig& config = model_.numbers;
    const std::string prefix = "model.layers." + std::to_string(index) + ".";
    LlamaLayerWeights out;
    out.kind = model_.kinds.of(index);
    const bool bias = config.attention_bias && !out.kind.cross;
    const std::string attention = prefix + (out.kind.cross ? "cross_attn." : "self_attn.");
    read_attention(attention, bias ? Bias::there : Bias::none, out);
    const std::string block = prefix + (config.family == Family::llama4 ? "feed_forward." : "mlp.");
    if (out.kind.moe) {
      out.moe = moe(block);
    } else {
      out.mlp = mlp(block, config.intermediate_size, config.mlp_bias ? Bias::there : Bias::none);
    }
    out.input_layernorm = norm(prefix + "input_layernorm");
    out.post_attention_layernorm = norm(prefix + "post_attention_layernorm");
    if (out.kind.cross) {
      out.cross = cross(prefix);
    } else {
      tensors_.pass_over(attention + "rotary_emb.inv_freq");
      read_cache(attention, out);
    }
    return out;
  }

  std::shared_ptr<Storage> storage_;
  Tensors tensors_;
  const Quantization quantization_;
  Model model_;
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
