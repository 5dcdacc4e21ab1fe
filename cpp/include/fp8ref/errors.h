// SPDX-License-Identifier: Apache-2.0
// The typed errors of the C++ core; fp8ref.errors has Python classes of the same names.
#pragma once

#include <stdexcept>
#include <string>

namespace fp8ref {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct OpError : Error {
  using Error::Error;
};
/// What a CUDA device, its driver or its memory reports.
struct DeviceError : Error {
  using Error::Error;
};
struct CheckpointError : Error {
  using Error::Error;
};
struct UnsupportedError : CheckpointError {
  using CheckpointError::CheckpointError;
};

}  // namespace fp8ref
