// SPDX-License-Identifier: Apache-2.0
// The class Llama of both extensions: a model on some device, with tokens and logits as numpy arrays.
#pragma once

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bind/bind.h"
#include "fp8ref/errors.h"
#include "fp8ref/llama.h"

namespace fp8ref::bind {

inline const char* family_name(Family family) {
  switch (family) {
    case Family::llama:
      return "llama";
    case Family::llama4:
      return "llama4";
    case Family::mllama:
      return "mllama";
  }
  return "";
}

/// An owning numpy copy of a traced value; bfloat16 as uint16.
template <class T>
nb::object copied(const TraceValue& value) {
  const auto rows = static_cast<std::size_t>(value.rows), cols = static_cast<std::size_t>(value.cols);
  T* data = new T[rows * cols];
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  std::memcpy(data, value.data, rows * cols * sizeof(T));
  return nb::cast(nb::ndarray<nb::numpy, T>(data, {rows, cols}, owner));
}

inline nb::object array_of(const TraceValue& value) {
  switch (value.type) {
    case TraceValue::Type::bfloat16:
      return copied<std::uint16_t>(value);
    case TraceValue::Type::uint8:
      return copied<std::uint8_t>(value);
    case TraceValue::Type::float32:
      return copied<float>(value);
    case TraceValue::Type::int64:
      return copied<std::int64_t>(value);
  }
  return nb::none();
}

/// Vision states (rows, hidden_size), bfloat16 as uint16.
using Image = std::optional<In<std::uint16_t>>;

inline std::optional<VisionStates> vision_states_of(const Image& image) {
  if (!image) return std::nullopt;
  return VisionStates{as_bf16(image->data()), static_cast<std::int64_t>(image->shape(0))};
}

/// Lets Python see signals, so that Ctrl-C ends a long forward. The caller works without the GIL; waiting for it costs
/// time where other threads of Python are busy, so most calls return at once.
class SignalPoll {
 public:
  void operator()() {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::milliseconds(50)) return;
    last_ = now;
    const nb::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

using Load = std::unique_ptr<Llama> (*)(const std::string&, Accumulate, Weights);

/// A model, loaded by `load`, may run in one thread at a time: its cache has one state.
template <Load load>
class Model {
 public:
  Model(const nb::bytes& folder, std::string_view accumulate, std::string_view weights) {
    const std::string path(folder.c_str(), folder.size());
    const Accumulate accumulator = accumulate_of(accumulate);
    const Weights kept = weights_of(weights);
    const nb::gil_scoped_release unlocked;
    llama_ = load(path, accumulator, kept);
  }

  std::int64_t length() const { return llama_->length(); }
  void reset() {
    const Turn turn(busy_);
    llama_->reset();
  }

  void forward(In<std::int64_t> tokens, Out<float> logits, std::optional<nb::callable> trace, Image vision_states) {
    const Turn turn(busy_);
    Trace record;
    if (trace) {
      record = [&trace](const TraceValue& value) {
        const nb::gil_scoped_acquire gil;
        (*trace)(value.name, array_of(value));
      };
    }
    const nb::gil_scoped_release unlocked;
    llama_->forward({tokens.data(), tokens.size()}, static_cast<std::int64_t>(logits.shape(0)), logits.data(), record,
                    SignalPoll(), vision_states_of(vision_states));
  }

  std::vector<std::int64_t> generate(In<std::int64_t> tokens, std::int64_t max_new_tokens,
                                     std::optional<nb::callable> on_token, Image vision_states) {
    const Turn turn(busy_);
    auto report = [&on_token](std::int64_t id) {
      const nb::gil_scoped_acquire gil;
      if (on_token) (*on_token)(id);
    };
    const nb::gil_scoped_release unlocked;
    return llama_->generate({tokens.data(), tokens.size()}, max_new_tokens, report, SignalPoll(),
                            vision_states_of(vision_states));
  }

  nb::dict config() const {
    const LlamaConfig& c = llama_->config();
    nb::dict out, scaling, moe, temperature;
    out["family"] = family_name(c.family);
    out["vocab_size"] = c.vocab_size;
    out["embedding_rows"] = c.embedding_rows;
    out["hidden_size"] = c.hidden_size;
    out["intermediate_size"] = c.intermediate_size;
    out["num_hidden_layers"] = c.num_hidden_layers;
    out["num_attention_heads"] = c.num_attention_heads;
    out["num_key_value_heads"] = c.num_key_value_heads;
    out["head_dim"] = c.head_dim;
    out["max_position_embeddings"] = c.max_position_embeddings;
    out["rms_norm_eps"] = c.rms_norm_eps;
    out["rope_theta"] = c.rope_theta;
    out["rope_scaling"] = nb::none();
    out["tie_word_embeddings"] = c.tie_word_embeddings;
    out["attention_bias"] = c.attention_bias;
    out["mlp_bias"] = c.mlp_bias;
    out["eos_token_ids"] = nb::cast(c.eos_token_ids);
    out["kv_cache"] = c.fp8_kv_cache ? "float8_e4m3fn" : "bfloat16";
    out["moe"] = nb::none();
    out["temperature"] = nb::none();
    if (c.rope_scaling) {
      scaling["factor"] = c.rope_scaling->factor;
      scaling["low_freq_factor"] = c.rope_scaling->low_freq_factor;
      scaling["high_freq_factor"] = c.rope_scaling->high_freq_factor;
      scaling["original_max_position_embeddings"] =
          static_cast<std::int64_t>(c.rope_scaling->original_max_position_embeddings);
      out["rope_scaling"] = scaling;
    }
    if (c.moe) {
      moe["num_local_experts"] = c.moe->num_local_experts;
      moe["num_experts_per_tok"] = c.moe->num_experts_per_tok;
      moe["intermediate_size"] = c.moe->intermediate_size;
      out["moe"] = moe;
    }
    if (c.temperature) {
      temperature["floor_scale"] = c.temperature->floor_scale;
      temperature["attn_scale"] = c.temperature->attn_scale;
      out["temperature"] = temperature;
    }
    nb::list layers;
    for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) layers.append(kind(llama_->layer(i)));
    out["layers"] = layers;
    return out;
  }

 private:
  /// A layer in the words of the golden LayerKind.
  static nb::dict kind(const LayerKind& layer) {
    nb::dict out;
    const bool rotated = layer.rope == RopeLayout::rotate_half;
    out["attention"] = layer.cross ? "cross" : "self";
    out["rope"] = !layer.rope ? "none" : rotated ? "rotate_half" : "interleaved";
    out["chunk"] = layer.chunk == 0 ? nb::none() : nb::cast(layer.chunk);
    out["qk_norm"] = layer.cross ? "weighted" : layer.qk_norm ? "weightless" : "none";
    out["temperature"] = layer.temperature;
    out["mlp"] = layer.moe ? "moe" : "dense";
    return out;
  }

  /// Holds the model for one call. A second caller gets an error: waiting would hang where a callback calls back.
  class Turn {
   public:
    explicit Turn(std::atomic<bool>& busy) : busy_(busy) {
      if (busy_.exchange(true)) throw OpError("llama: the model is already running in another call");
    }
    ~Turn() { busy_.store(false); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    std::atomic<bool>& busy_;
  };

  std::unique_ptr<Llama> llama_;
  std::atomic<bool> busy_{false};
};

template <Load load>
void bind_model(nb::module_& m) {
  using Class = Model<load>;
  nb::class_<Class>(m, "Llama")
      .def(nb::init<nb::bytes, std::string_view, std::string_view>(), nb::arg("folder"), nb::arg("accumulate"),
           nb::arg("weights"))
      .def_prop_ro("config", &Class::config)
      .def_prop_ro("length", &Class::length)
      .def("reset", &Class::reset)
      .def("forward", &Class::forward, nb::arg("tokens"), nb::arg("logits"), nb::arg("trace").none(),
           nb::arg("vision_states").none())
      .def("generate", &Class::generate, nb::arg("tokens"), nb::arg("max_new_tokens"), nb::arg("on_token").none(),
           nb::arg("vision_states").none());
}

}  // namespace fp8ref::bind
