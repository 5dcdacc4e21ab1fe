// SPDX-License-Identifier: Apache-2.0
// The tensors of a folder as a reader asks for them: by canonical names, checked, each accounted for. Internal.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "checkpoint/files.h"
#include "fp8ref/checkpoint.h"

namespace fp8ref::checkpoint {

using Shape = std::vector<std::int64_t>;

/// What the pointers of LlamaWeights point into.
struct Storage final : WeightStorage {
  explicit Storage(const std::string& path) : folder(path) {}

  void prefetch(std::span<const std::byte> bytes) const override;
  void release(std::span<const std::byte> bytes) const override;

  Folder folder;
  std::vector<std::unique_ptr<bf16[]>> copies;  // of tensors at odd addresses
};

/// "file: tensor 'name': message", with the name as the file has it.
std::string what(const Tensor& tensor, const std::string& message);

class Tensors {
 public:
  /// Throws CheckpointError for two tensors of one name. [CKPT-PREFIX]
  explicit Tensors(std::shared_ptr<Storage> storage);

  /// nullptr if there is none. What is only looked at does not count as used.
  const Tensor* find(const std::string& name) const;

  // What follows throws CheckpointError for a tensor that is missing or has another shape or a value that its place
  // rules out, and UnsupportedError for another dtype. [CKPT-NAMES], [CKPT-DTYPES]

  const Tensor& get(const std::string& name, const Shape& shape, std::initializer_list<std::string_view> dtypes);
  /// BF16, as it lies in the file.
  const bf16* bf16_values(const std::string& name, const Shape& shape);
  /// BF16, widened.
  std::vector<float> widened(const std::string& name, const Shape& shape);
  /// Scales in one of the shapes, widened exactly. [CKPT-SCALE]
  std::vector<float> scales(const std::string& name, const std::vector<Shape>& shapes);
  /// A scale that something is divided by: one value above 0.
  float positive_scale(const std::string& name);
  /// The mapped bytes as bf16; a copy where they lie at an odd address, which no writer of the format's own library
  /// puts them at.
  const bf16* as_bf16(const Tensor& tensor);

  /// Says that the model has no use for a tensor, and that this is right.
  void pass_over(const std::string& name);
  /// A tensor that nothing asked for means another model than the config describes. [CKPT-EXTRA]
  void check_leftovers() const;

 private:
  const Tensor& require(const std::string& name);

  std::shared_ptr<Storage> storage_;
  std::unordered_map<std::string, std::size_t> places_;  // of the folder's tensors
  std::vector<bool> used_;
};

}  // namespace fp8ref::checkpoint
