// SPDX-License-Identifier: Apache-2.0
// Device memory and what else the Python side needs to call the operations.
#include "cuda/interop.h"

#include <nanobind/stl/string.h>

#include <string>
#include <string_view>

#include "bind/cuda/cuda.h"
#include "fp8ref/errors.h"

namespace {

using namespace fp8ref::bind;
namespace cuda = fp8ref::cuda;

/// A piece of memory of the device in use, given back in the order of its stream.
class Memory {
 public:
  Memory(const std::string& op, std::size_t bytes, Address stream)
      : stream_(stream_at(stream)),
        device_(cuda::current_device()),
        data_(cuda::allocate(op.c_str(), bytes, stream_)) {}
  ~Memory() {  // stream 0 is another one on each device
    const int device = cuda::current_device();
    if (device != device_) cuda::use_device(device_);
    cuda::release(data_, stream_);
    if (device != device_) cuda::use_device(device);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  Address address() const { return reinterpret_cast<Address>(data_); }
  int device() const { return device_; }

 private:
  cuda::Stream stream_;
  int device_;
  void* data_;
};

using HostBytes = nb::ndarray<const std::uint8_t, nb::c_contig, nb::device::cpu, nb::ndim<1>>;
using HostOut = nb::ndarray<std::uint8_t, nb::c_contig, nb::device::cpu, nb::ndim<1>>;

cuda::Number number_of(std::string_view name) {
  using enum cuda::Number;
  static constexpr std::pair<std::string_view, cuda::Number> kTypes[] = {
      {"bfloat16", bfloat16}, {"float16", float16}, {"float8_e8m0fnu", e8m0}, {"float32", float32},
      {"float64", float64},   {"int8", int8},       {"uint8", uint8},         {"int16", int16},
      {"uint16", uint16},     {"int32", int32},     {"uint32", uint32},       {"int64", int64},
      {"uint64", uint64}};
  for (const auto& [known, value] : kTypes) {
    if (known == name) return value;
  }
  throw fp8ref::OpError("unknown type of numbers '" + std::string(name) + "'");
}

nb::dict device_info() {
  const cuda::DeviceInfo info = cuda::device_info();
  nb::dict out;
  out["name"] = info.name;
  out["capability"] = info.capability;
  out["multiprocessors"] = info.multiprocessors;
  out["memory"] = info.memory;
  out["driver"] = info.driver;
  out["runtime"] = info.runtime;
  return out;
}

}  // namespace

void bind_interop(nb::module_& m) {
  nb::class_<Memory>(m, "Memory")
      .def(nb::init<const std::string&, std::size_t, Address>(), nb::arg("op"), nb::arg("bytes"), nb::arg("stream"))
      .def_prop_ro("address", &Memory::address)
      .def_prop_ro("device", &Memory::device);
  m.def(
      "upload",
      [](const std::string& op, Address to, HostBytes from, Address stream) {
        cuda::upload(op.c_str(), at<void>(to), from.data(), from.size(), stream_at(stream));
      },
      Unlocked());
  m.def(
      "download",
      [](const std::string& op, HostOut to, Address from, Address stream) {
        cuda::download(op.c_str(), to.data(), at<void>(from), to.size(), stream_at(stream));
      },
      Unlocked());
  m.def(
      "copy",
      [](const std::string& op, Address to, Address from, std::size_t bytes, Address stream) {
        cuda::copy(op.c_str(), at<void>(to), at<void>(from), bytes, stream_at(stream));
      },
      Unlocked());
  m.def(
      "clear",
      [](const std::string& op, Address to, std::size_t bytes, Address stream) {
        cuda::clear(op.c_str(), at<void>(to), bytes, stream_at(stream));
      },
      Unlocked());
  m.def(
      "synchronize", [](const std::string& op, Address stream) { cuda::synchronize(op.c_str(), stream_at(stream)); },
      Unlocked());
  m.def(
      "widen",
      [](Address from, std::string_view from_type, std::size_t n, Address to, std::string_view to_type,
         Address stream) {
        cuda::widen(at<void>(from), number_of(from_type), n, at<void>(to), number_of(to_type), stream_at(stream));
      },
      Unlocked());
  m.def("device_info", &device_info);
  m.def("current_device", &cuda::current_device);
  m.def("use_device", &cuda::use_device);
  m.def("device_of", [](Address data) { return cuda::device_of(at<void>(data)); });
}
