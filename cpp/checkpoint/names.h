// SPDX-License-Identifier: Apache-2.0
// One spelling for the names of tensors and modules, whoever wrote them. [CKPT-PREFIX]. Internal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fp8ref::checkpoint {

/// The spelling under which a name is looked up.
std::string canonical(std::string_view name);

/// All spellings of a name that is canonical, itself first.
std::vector<std::string> spellings(const std::string& name);

/// True for names of what turns images into vision states, which nothing reads.
bool belongs_to_vision(std::string_view name);

}  // namespace fp8ref::checkpoint
