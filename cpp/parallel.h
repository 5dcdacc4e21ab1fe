// SPDX-License-Identifier: Apache-2.0
// The thread pool of the CPU backend. Internal.
#pragma once

#include <cstdint>
#include <functional>

namespace fp8ref::cpu {

/// Calls body(begin, end) on disjoint ranges that cover [0, n), in parallel, each of at least `grain` items (but the
/// last), each begin a multiple of `grain`. Ranges differ with the number of threads: a body must write results that do
/// not depend on them. Sets the contract's floating-point environment on every thread. The first exception of a body is
/// rethrown here. Nested calls, and calls while another thread's loop has the pool, run inline. Safe after fork.
void parallel_for(std::int64_t n, std::int64_t grain, const std::function<void(std::int64_t, std::int64_t)>& body);

}  // namespace fp8ref::cpu
