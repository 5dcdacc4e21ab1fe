// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/names.h"

namespace fp8ref::checkpoint {
namespace {

/// Multimodal models keep the text model a level below; transformers changed its name twice.
struct Prefix {
  std::string_view written, canonical;
};
constexpr Prefix kPrefixes[] = {{"language_model.model.", "model."},
                                {"model.language_model.", "model."},
                                {"language_model.lm_head.", "lm_head."},
                                {"model.lm_head.", "lm_head."}};

constexpr std::string_view kVision[] = {"vision_model.", "multi_modal_projector."};
constexpr std::string_view kModel = "model.";

}  // namespace

std::string canonical(std::string_view name) {
  for (const Prefix& prefix : kPrefixes) {
    if (name.starts_with(prefix.written)) {
      return std::string(prefix.canonical) + std::string(name.substr(prefix.written.size()));
    }
  }
  return std::string(name);
}

std::vector<std::string> spellings(const std::string& name) {
  std::vector<std::string> out{name};
  for (const Prefix& prefix : kPrefixes) {
    if (name.starts_with(prefix.canonical)) {
      out.push_back(std::string(prefix.written) + name.substr(prefix.canonical.size()));
    }
  }
  return out;
}

bool belongs_to_vision(std::string_view name) {
  if (name.starts_with(kModel)) name.remove_prefix(kModel.size());
  for (const std::string_view prefix : kVision) {
    if (name.starts_with(prefix)) return true;
  }
  return false;
}

}  // namespace fp8ref::checkpoint
