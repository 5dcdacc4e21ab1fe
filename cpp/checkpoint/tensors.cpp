// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/tensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "checkpoint/names.h"
#include "fp8ref/round.h"

namespace fp8ref::checkpoint {
namespace {

std::string text(const Shape& shape) {
  std::string out = "[";
  for (const std::int64_t extent : shape) {
    if (out.size() > 1) out += ", ";
    out += std::to_string(extent);
  }
  return out + "]";
}

template <class T>
void widen_all(const char* data, std::vector<float>& out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, data + i * sizeof(T), sizeof(T));
    out[i] = widen(value);
  }
}

/// Elements of F32, BF16 or F16, widened exactly.
std::vector<float> widened_exactly(const Tensor& tensor) {
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

}  // namespace

void Storage::prefetch(std::span<const std::byte> bytes) const {
  for (const auto& file : folder.files()) file->prefetch(bytes);
}

void Storage::release(std::span<const std::byte> bytes) const {
  for (const auto& file : folder.files()) file->release(bytes);
}

std::string what(const Tensor& tensor, const std::string& message) {
  return tensor.file + ": tensor " + quote(tensor.name) + ": " + message;
}

Tensors::Tensors(std::shared_ptr<Storage> storage)
    : storage_(std::move(storage)), used_(storage_->folder.tensors().size(), false) {
  const std::vector<Tensor>& all = storage_->folder.tensors();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (belongs_to_vision(all[i].name)) {
      used_[i] = true;
      continue;
    }
    const auto [place, fresh] = places_.emplace(canonical(all[i].name), i);
    if (fresh) continue;
    throw CheckpointError(what(all[i], "is another spelling of " + quote(all[place->second].name)));
  }
}

const Tensor* Tensors::find(const std::string& name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? nullptr : &storage_->folder.tensors()[found->second];
}

const Tensor& Tensors::require(const std::string& name) {
  const Tensor* tensor = find(name);
  if (tensor == nullptr) throw damaged(storage_->folder.path(), "tensor " + quote(name) + " is missing");
  pass_over(name);
  return *tensor;
}

void Tensors::pass_over(const std::string& name) {
  if (const auto found = places_.find(name); found != places_.end()) used_[found->second] = true;
}

const Tensor& Tensors::get(const std::string& name, const Shape& shape,
                           std::initializer_list<std::string_view> dtypes) {
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

const bf16* Tensors::as_bf16(const Tensor& tensor) {
  if (reinterpret_cast<std::uintptr_t>(tensor.data) % alignof(bf16) == 0) {
    return reinterpret_cast<const bf16*>(tensor.data);
  }
  storage_->copies.push_back(std::make_unique_for_overwrite<bf16[]>(tensor.size / sizeof(bf16)));
  bf16* copy = storage_->copies.back().get();
  std::memcpy(copy, tensor.data, tensor.size);
  return copy;
}

const bf16* Tensors::bf16_values(const std::string& name, const Shape& shape) {
  return as_bf16(get(name, shape, {"BF16"}));
}

std::vector<float> Tensors::widened(const std::string& name, const Shape& shape) {
  return widened_exactly(get(name, shape, {"BF16"}));
}

std::vector<float> Tensors::scales(const std::string& name, const std::vector<Shape>& shapes) {
  const Tensor& stored = require(name);
  if (std::find(shapes.begin(), shapes.end(), stored.shape) == shapes.end()) {
    std::string message = "a scale here has shape ";
    for (const Shape& shape : shapes) message += (&shape == &shapes.front() ? "" : " or ") + text(shape);
    throw CheckpointError(what(stored, message + ", got " + text(stored.shape)));
  }
  std::vector<float> out = widened_exactly(get(name, stored.shape, {"F32", "BF16", "F16"}));
  for (const float value : out) {
    if (std::isnan(value)) throw CheckpointError(what(stored, "the scale is NaN"));
    if (std::isinf(value)) throw CheckpointError(what(stored, "the scale is infinite"));
    if (std::signbit(value)) throw CheckpointError(what(stored, "the scale is negative"));
  }
  return out;
}

float Tensors::positive_scale(const std::string& name) {
  const float scale = scales(name, {{}, {1}}).front();
  if (!(scale > 0)) throw CheckpointError(what(*find(name), "the scale is zero"));
  return scale;
}

void Tensors::check_leftovers() const {
  const std::vector<Tensor>& all = storage_->folder.tensors();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (used_[i]) continue;
    throw UnsupportedError(what(all[i], "the model that config.json describes has no use for it"));
  }
}

}  // namespace fp8ref::checkpoint
