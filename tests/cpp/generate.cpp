// SPDX-License-Identifier: Apache-2.0
// generate CKPT N ID...: greedy generation after the prompt ID..., without Python. Prints the new ids.
// Environment: FP8REF_ACCUMULATE=sm90_wgmma chooses that accumulator, anything else is an error.
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "fp8ref/errors.h"
#include "fp8ref/llama.h"

namespace {

std::int64_t integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw fp8ref::Error("not an integer: " + std::string(text));
  }
  return value;
}

fp8ref::Accumulate accumulate() {
  const char* name = std::getenv("FP8REF_ACCUMULATE");
  if (name == nullptr || std::string_view(name) == "exact") return fp8ref::Accumulate::exact;
  if (std::string_view(name) == "sm90_wgmma") return fp8ref::Accumulate::sm90_wgmma;
  throw fp8ref::Error("unknown accumulator: " + std::string(name));
}

void run(int count, char** arguments) {
  std::vector<std::int64_t> prompt;
  for (int i = 3; i < count; ++i) prompt.push_back(integer(arguments[i]));
  const auto model = fp8ref::Llama::load(arguments[1], accumulate());
  const char* separator = "";
  model->generate(prompt, integer(arguments[2]), [&](std::int64_t id) {
    std::printf("%s%lld", separator, static_cast<long long>(id));
    std::fflush(stdout);
    separator = " ";
  });
  std::printf("\n");
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) {
    std::fprintf(stderr, "usage: generate CKPT N ID...\n");
    return 2;
  }
  try {
    run(count, arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "generate: %s\n", error.what());
    return 1;
  }
  return 0;
}
