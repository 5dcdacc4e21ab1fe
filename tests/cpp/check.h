// SPDX-License-Identifier: Apache-2.0
// The few lines of a test framework that these tests need.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <typeinfo>

namespace fp8ref::test {

inline long failures = 0;

inline void check(bool held, const std::string& what) {
  if (held) return;
  ++failures;
  std::fprintf(stderr, "failed: %s\n", what.c_str());
}

/// The work must throw exactly an E (no subclass) whose message holds `part`.
template <class E, class Work>
void refuses(const std::string& what, const std::string& part, const Work& work) {
  try {
    work();
    check(false, what + ": not refused");
  } catch (const E& error) {
    check(typeid(error) == typeid(E), what + ": another class: " + error.what());
    check(std::string(error.what()).find(part) != std::string::npos,
          what + ": message without '" + part + "': " + error.what());
  } catch (const std::exception& error) {
    check(false, what + ": another class: " + error.what());
  }
}

inline int finish(const char* name) {
  if (failures == 0) std::printf("%s: all passed\n", name);
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace fp8ref::test
