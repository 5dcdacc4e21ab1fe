// SPDX-License-Identifier: Apache-2.0
// The files of a checkpoint folder: mapped bytes, tensors of safetensors files, the index. Internal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "checkpoint/json.h"

namespace fp8ref::checkpoint {

/// A regular file in memory, read-only: mapped where the system can, else read. [CKPT-MMAP]
class MappedFile {
 public:
  /// Throws CheckpointError. Pipes and devices, which would block, are refused.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::string_view bytes() const { return {data_, size_}; }

  /// How the bytes are going to be read, where the system can make use of it.
  enum class Order {
    scattered,   // here and there: nothing but the page that is touched is worth reading
    sequential,  // weight after weight: what follows is worth reading ahead
  };
  void expect(Order order) const;
  /// WeightStorage's, of the bytes that are in this file.
  void prefetch(std::span<const std::byte> bytes) const;
  void release(std::span<const std::byte> bytes) const;

 private:
  /// The pages that hold the bytes, or (within) that hold nothing else.
  enum class Pages { around, within };
  void advise(std::span<const std::byte> bytes, Pages pages, int advice) const;

  const char* data_ = nullptr;
  std::size_t size_ = 0;
  std::vector<char> copy_;  // where the system cannot map
};

/// A tensor of a safetensors file.
struct Tensor {
  std::string name;
  std::string file;
  std::string_view dtype;  // the format's name, such as "BF16"
  std::vector<std::int64_t> shape;
  const char* data;  // in the mapped file, at any alignment
  std::size_t size;  // in bytes
};

/// All tensors of the bytes of a safetensors file, in the header's order, after every check of the format
/// [CKPT-HEADER], [CKPT-TENSOR], [CKPT-OFFSETS]. They point into `bytes`.
std::vector<Tensor> parse_safetensors(std::string_view bytes, const std::string& file);

/// An opened folder. [CKPT-FOLDER], [CKPT-INDEX]
class Folder {
 public:
  explicit Folder(const std::string& path);

  const std::string& path() const { return path_; }
  Section config() const { return {config_file_, &config_}; }
  Section generation_config() const { return {generation_file_, &generation_}; }
  const std::vector<Tensor>& tensors() const { return tensors_; }
  const std::vector<std::unique_ptr<MappedFile>>& files() const { return files_; }
  /// nullptr if there is none.
  const Tensor* find(const std::string& name) const;

 private:
  using Shards = std::unordered_map<std::string, std::string>;  // the file of each tensor, as the index has it

  void open_index(const std::string& file);
  /// Maps a file and takes its tensors; shards is nullptr where there is no index.
  void add(const std::string& file, const Shards* shards);

  std::string path_, config_file_, generation_file_;
  Object config_, generation_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::vector<Tensor> tensors_;
  std::unordered_map<std::string, std::size_t> places_;  // of tensors_
};

}  // namespace fp8ref::checkpoint
