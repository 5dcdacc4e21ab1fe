// SPDX-License-Identifier: Apache-2.0
// The header of a safetensors file is checked completely before anything trusts it.
#include <algorithm>
#include <array>
#include <bit>

#include "checkpoint/files.h"

namespace fp8ref::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian and is used in place");

constexpr std::uint64_t kMaxHeader = 100'000'000;
constexpr std::int64_t kMax64 = std::numeric_limits<std::int64_t>::max();

struct DtypeSize {
  std::string_view name;
  std::int64_t bytes;
};
constexpr std::array<DtypeSize, 19> kDtypes{{{"BOOL", 1},
                                             {"U8", 1},
                                             {"I8", 1},
                                             {"F8_E5M2", 1},
                                             {"F8_E4M3", 1},
                                             {"F8_E8M0", 1},
                                             {"F8_E4M3FNUZ", 1},
                                             {"F8_E5M2FNUZ", 1},
                                             {"I16", 2},
                                             {"U16", 2},
                                             {"F16", 2},
                                             {"BF16", 2},
                                             {"I32", 4},
                                             {"U32", 4},
                                             {"F32", 4},
                                             {"I64", 8},
                                             {"U64", 8},
                                             {"F64", 8},
                                             {"C64", 8}}};

/// What an error in one row of the header needs.
struct Row {
  const std::string& file;
  const std::string& name;

  CheckpointError wrong(const std::string& message) const {
    return damaged(file, "tensor " + quote(name) + ": " + message);
  }
};

/// A list of integers in [0, 2^63); false if it is anything else.
bool integers(const Value& value, std::vector<std::int64_t>& out) {
  if (value.array() == nullptr) return false;
  for (const Value& item : *value.array()) {
    out.emplace_back();
    if (!item.integer(0, kMax64, out.back())) return false;
  }
  return true;
}

/// Elements times item size; false where that is 2^63 or more. A zero anywhere makes it zero.
bool byte_size(const std::vector<std::int64_t>& shape, std::int64_t item, std::int64_t& size) {
  size = std::find(shape.begin(), shape.end(), 0) != shape.end() ? 0 : item;
  for (const std::int64_t extent : shape) {
    if (extent != 0 && size > kMax64 / extent) return false;
    size *= extent;
  }
  return true;
}

/// A row of the header before its place in the file is known to exist.
struct Entry {
  Tensor tensor;
  std::int64_t begin, end;
};

/// One row, checked by itself. [CKPT-TENSOR]
Entry read_entry(const std::string& file, const std::string& name, const Value& value) {
  const Row row{file, name};
  const Section keys(file, value.object());
  const bool complete = keys.find("dtype") != nullptr && keys.find("shape") != nullptr && keys.find("data_offsets");
  if (!complete || keys.values().size() != 3) {
    throw row.wrong("the header must give dtype, shape and data_offsets, got " + show(value));
  }
  const std::string* dtype = keys.find("dtype")->string();
  if (dtype == nullptr) throw row.wrong("dtype must be a string, got " + show(*keys.find("dtype")));
  const auto* known = std::find_if(kDtypes.begin(), kDtypes.end(), [&](const auto& d) { return d.name == *dtype; });
  if (known == kDtypes.end()) {
    throw UnsupportedError(file + ": tensor " + quote(name) + ": dtype " + quote(*dtype) + " is unknown");
  }
  Entry entry{{name, file, known->name, {}, nullptr, 0}, 0, 0};
  const Value &shape = *keys.find("shape"), &place = *keys.find("data_offsets");
  if (!integers(shape, entry.tensor.shape)) {
    throw row.wrong("shape must be a list of integers in [0, 2^63), got " + show(shape));
  }
  std::vector<std::int64_t> offsets;
  if (!integers(place, offsets) || offsets.size() != 2 || offsets[0] > offsets[1]) {
    throw row.wrong("data_offsets must be [begin, end] with begin <= end, got " + show(place));
  }
  entry.begin = offsets[0];
  entry.end = offsets[1];
  std::int64_t size = 0;
  if (!byte_size(entry.tensor.shape, known->bytes, size) || size != entry.end - entry.begin) {
    throw row.wrong("shape " + show(shape) + " of " + *dtype + " does not fill data_offsets " + show(place));
  }
  entry.tensor.size = static_cast<std::size_t>(size);
  return entry;
}

/// The tensors cover the data without overlap, hole or rest. [CKPT-OFFSETS]
void check_coverage(const std::string& file, const std::vector<Entry>& entries, std::int64_t data_size) {
  std::vector<const Entry*> sorted;
  for (const Entry& entry : entries) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(),
            [](const Entry* x, const Entry* y) { return std::pair(x->begin, x->end) < std::pair(y->begin, y->end); });
  std::int64_t position = 0;
  for (const Entry* entry : sorted) {
    const Row row{file, entry->tensor.name};
    if (entry->end > data_size) {
      throw row.wrong("ends at byte " + std::to_string(entry->end) + " of the data, but the file holds " +
                      std::to_string(data_size) + ": it is truncated");
    }
    if (entry->begin != position) {
      const bool overlap = entry->begin < position;
      throw row.wrong(std::string(overlap ? "overlaps the tensor" : "leaves a hole") + " before it (begins at " +
                      std::to_string(entry->begin) + ", expected " + std::to_string(position) + ")");
    }
    position = entry->end;
  }
  if (position != data_size) {
    throw damaged(file, std::to_string(data_size - position) + " bytes follow the last tensor");
  }
}

/// The header's text; everything that follows it is data. [CKPT-HEADER]
std::string_view header_text(std::string_view bytes, const std::string& file) {
  if (bytes.size() < 8) {
    throw damaged(file, "has " + std::to_string(bytes.size()) +
                            " bytes, less than the 8 of a safetensors header length: it is truncated");
  }
  std::uint64_t length = 0;
  std::copy_n(bytes.data(), 8, reinterpret_cast<char*>(&length));
  if (length < 2 || length > kMaxHeader) {
    throw damaged(file, "header length " + std::to_string(length) + " is not between 2 and 100000000");
  }
  if (length > bytes.size() - 8) {
    throw damaged(file, "the header needs " + std::to_string(length) + " bytes, but the file ends after " +
                            std::to_string(bytes.size() - 8));
  }
  const std::string_view text = bytes.substr(8, length);
  if (text[0] != '{') throw damaged(file, "the header does not begin with '{'");
  return text;
}

}  // namespace

std::vector<Tensor> parse_safetensors(std::string_view bytes, const std::string& file) {
  const std::string_view text = header_text(bytes, file);
  const std::string_view data = bytes.substr(8 + text.size());
  const Object header = parse_object(text, file, "the header");
  const Section metadata = Section(file, &header).section("__metadata__");
  for (const auto& [key, value] : metadata.values()) {
    if (value.string() == nullptr) throw metadata.wrong(key, "a string");
  }
  std::vector<Entry> entries;
  for (const auto& [name, value] : header) {
    if (name != "__metadata__") entries.push_back(read_entry(file, name, value));
  }
  check_coverage(file, entries, static_cast<std::int64_t>(data.size()));
  std::vector<Tensor> tensors;
  for (Entry& entry : entries) {
    entry.tensor.data = data.data() + entry.begin;
    tensors.push_back(std::move(entry.tensor));
  }
  return tensors;
}

}  // namespace fp8ref::checkpoint
