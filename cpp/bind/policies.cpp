// SPDX-License-Identifier: Apache-2.0
// The translation of errors, and what the module tells of itself.
#include <exception>

#include "bind/bind.h"
#include "fp8ref/cpu.h"
#include "fp8ref/errors.h"

namespace fp8ref::bind {

void register_errors() {
  nb::register_exception_translator(
      [](const std::exception_ptr& pointer, void*) {
        auto raise = [](const char* name, const std::exception& error) {
          nb::object type = nb::module_::import_("fp8ref.errors").attr(name);
          // A message may name a file whose name is not UTF-8.
          const nb::object text = nb::steal(PyUnicode_DecodeFSDefault(error.what()));
          PyErr_SetObject(type.ptr(), text.ptr());
        };
        try {
          std::rethrow_exception(pointer);
        } catch (const UnsupportedError& error) {
          raise("UnsupportedError", error);
        } catch (const CheckpointError& error) {
          raise("CheckpointError", error);
        } catch (const DeviceError& error) {
          raise("DeviceError", error);
        } catch (const OpError& error) {
          raise("OpError", error);
        } catch (const Error& error) {
          raise("Fp8RefError", error);
        }
      },
      nullptr);
}

}  // namespace fp8ref::bind

void bind_policies(nanobind::module_& m) {
  m.def("set_threads", &fp8ref::cpu::set_threads, nanobind::arg("n"));
  m.def("threads", &fp8ref::cpu::threads);
}
