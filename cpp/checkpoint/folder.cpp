// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <set>

#include "checkpoint/files.h"

namespace fp8ref::checkpoint {
namespace {

constexpr std::size_t kMaxJson = 100'000'000;
constexpr char kSingle[] = "model.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";

/// True also where the file is there but cannot be looked at: opening it then says why.
bool exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::status(path, error).type() != std::filesystem::file_type::not_found;
}

Object read_object(const std::string& path) {
  const MappedFile file(path);
  if (file.bytes().size() > kMaxJson) throw damaged(path, "is larger than 100000000 bytes");
  return parse_object(file.bytes(), path, "the file");
}

/// A file name that does not lead out of the folder. [CKPT-INDEX]
bool plain(const std::string& name) {
  return name != "" && name != "." && name != ".." && name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
}

}  // namespace

Folder::Folder(const std::string& path)
    : path_(path), config_file_(path + "/config.json"), generation_file_(path + "/generation_config.json") {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) throw damaged(path, "is not a folder");
  config_ = read_object(config_file_);
  if (exists(generation_file_)) generation_ = read_object(generation_file_);
  const std::string single = path + "/" + kSingle, index = path + "/" + kIndex;
  if (exists(single)) {
    add(single, nullptr);
  } else if (exists(index)) {
    open_index(index);
  } else {
    throw damaged(path, std::string("holds neither ") + kSingle + " nor " + kIndex);
  }
}

const Tensor* Folder::find(const std::string& name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? nullptr : &tensors_[found->second];
}

void Folder::add(const std::string& file, const Shards* shards) {
  files_.push_back(std::make_unique<MappedFile>(file));
  files_.back()->expect(MappedFile::Order::scattered);  // opening touches headers and scales [CKPT-STREAM]
  for (Tensor& tensor : parse_safetensors(files_.back()->bytes(), file)) {
    if (shards != nullptr) {
      const auto shard = shards->find(tensor.name);
      if (shard == shards->end() || shard->second != file) {
        throw damaged(file, "tensor " + quote(tensor.name) + " is here, but " + kIndex + " does not say so");
      }
    }
    places_.emplace(tensor.name, tensors_.size());
    tensors_.push_back(std::move(tensor));
  }
}

/// Index and shards must agree exactly. [CKPT-INDEX]
void Folder::open_index(const std::string& file) {
  const Object root = read_object(file);
  const Section map = Section(file, &root).section("weight_map");
  if (map.empty()) throw damaged(file, "weight_map is missing or empty");
  Shards shards;
  std::set<std::string> files;
  for (const auto& [tensor, value] : map.values()) {
    const std::string* name = value.string();
    if (name == nullptr || !plain(*name)) {
      throw damaged(file, "weight_map of tensor " + quote(tensor) + " must be a plain file name, got " + show(value));
    }
    shards[tensor] = path_ + "/" + *name;
    files.insert(shards[tensor]);
  }
  for (const std::string& shard : files) add(shard, &shards);
  for (const auto& [tensor, shard] : shards) {
    if (find(tensor) == nullptr) {
      throw damaged(shard, "tensor " + quote(tensor) + " is missing; " + kIndex + " says that it is here");
    }
  }
}

}  // namespace fp8ref::checkpoint
