// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/files.h"

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#else
#include <filesystem>
#include <fstream>
#endif

namespace fp8ref::checkpoint {

#if defined(__unix__) || defined(__APPLE__)

namespace {

/// A file descriptor that closes itself.
struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
};

std::string reason(int error) { return std::generic_category().message(error); }

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  // Without O_NONBLOCK the open itself would wait for a writer if the file is a pipe.
  const Descriptor file{path.find('\0') == path.npos ? open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1};
  struct stat status{};
  if (file.number < 0 || fstat(file.number, &status) != 0) throw damaged(path, "cannot be read: " + reason(errno));
  if (!S_ISREG(status.st_mode)) throw damaged(path, "is not a regular file");
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  void* address = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.number, 0);
  if (address == MAP_FAILED) throw damaged(path, "cannot be mapped: " + reason(errno));
  data_ = static_cast<const char*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<char*>(data_), size_);
}

// A failure of madvise is not looked at: memory that stays, or is read later, changes no bit.

void MappedFile::expect(Order order) const {
  if (data_ == nullptr) return;
  madvise(const_cast<char*>(data_), size_, order == Order::scattered ? MADV_RANDOM : MADV_NORMAL);
}

void MappedFile::prefetch(std::span<const std::byte> bytes) const {
  // Linux reads no more for one call than its device's readahead, which is at least this.
  constexpr std::size_t kStep = 128 << 10;
  while (!bytes.empty()) {
    const std::size_t count = std::min(kStep, bytes.size());
    advise(bytes.first(count), Pages::around, MADV_WILLNEED);
    bytes = bytes.subspan(count);
  }
}

void MappedFile::release(std::span<const std::byte> bytes) const { advise(bytes, Pages::within, MADV_DONTNEED); }

void MappedFile::advise(std::span<const std::byte> bytes, Pages pages, int advice) const {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto base = reinterpret_cast<std::uintptr_t>(data_), data = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::uintptr_t begin = std::max(base, data), end = std::min(base + size_, data + bytes.size());
  if (begin >= end) return;
  // The mapping begins with a page, and its last page holds nothing but the file's end.
  const std::uintptr_t up = pages == Pages::within ? page - 1 : 0, down = pages == Pages::around ? page - 1 : 0;
  const std::uintptr_t first = (begin + up) / page * page;
  const std::uintptr_t last = end == base + size_ ? end : (end + down) / page * page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, advice);
}

#else

MappedFile::MappedFile(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) throw damaged(path, "is not a regular file");
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  std::ifstream stream(path, std::ios::binary);
  if (error || !stream) throw damaged(path, "cannot be read");
  copy_.resize(static_cast<std::size_t>(size));
  stream.read(copy_.data(), static_cast<std::streamsize>(copy_.size()));
  if (static_cast<std::uintmax_t>(stream.gcount()) != size) throw damaged(path, "cannot be read to its end");
  data_ = copy_.data();
  size_ = copy_.size();
}

MappedFile::~MappedFile() = default;

void MappedFile::expect(Order) const {}
void MappedFile::prefetch(std::span<const std::byte>) const {}
void MappedFile::release(std::span<const std::byte>) const {}

#endif

}  // namespace fp8ref::checkpoint
