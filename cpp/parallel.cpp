// SPDX-License-Identifier: Apache-2.0
// The thread pool: persistent threads, chunks dealt out dynamically. One operation runs at a time; a second caller, or
// a body that calls parallel_for again, runs its loop inline, so nothing can wait in a circle.
#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#include "fp8ref/cpu.h"
#include "fpenv.h"

namespace fp8ref::cpu {
namespace {

using Body = std::function<void(std::int64_t, std::int64_t)>;

/// Cores that this process may run on.
int count_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

long process_id() {
#if defined(__unix__) || defined(__APPLE__)
  return static_cast<long>(getpid());
#else
  return 0;
#endif
}

void relax() {
#if defined(__SSE2__)
  _mm_pause();
#endif
}

/// One parallel_for: the range, the next undealt item, the first exception.
struct Job {
  Job(std::int64_t items, std::int64_t chunk_items, const Body& function)
      : n(items), chunk(chunk_items), body(function) {}

  void run() {
    const FpEnv env;
    for (;;) {
      const std::int64_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
      if (begin >= n) return;
      try {
        body(begin, std::min(n, begin + chunk));
      } catch (...) {
        const std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
        next.store(n, std::memory_order_relaxed);
      }
    }
  }

  const std::int64_t n, chunk;
  const Body& body;
  std::atomic<std::int64_t> next{0};
  std::mutex error_mutex;
  std::exception_ptr error;
};

class Pool {
 public:
  explicit Pool(int threads) : owner_(process_id()) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }

  ~Pool() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
      generation_.fetch_add(1);
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  long owner() const { return owner_; }
  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// False if another thread's job is running: the caller then runs its loop itself.
  bool try_run(Job& job) {
    const std::unique_lock turn(turn_, std::try_to_lock);
    if (!turn.owns_lock()) return false;
    {
      const std::lock_guard lock(mutex_);
      job_ = &job;
      generation_.fetch_add(1);
    }
    wake_.notify_all();
    job.run();
    std::unique_lock lock(mutex_);
    job_ = nullptr;  // a worker that wakes from now on finds nothing
    idle_.wait(lock, [this] { return inside_ == 0; });
    return true;
  }

 private:
  void work() {
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      lock.unlock();
      // Operations of a forward follow each other within microseconds: a short spin saves most sleeps.
      for (int spin = 0; spin < 2000 && generation_.load(std::memory_order_relaxed) == seen; ++spin) relax();
      lock.lock();
      wake_.wait(lock, [&] { return generation_.load() != seen; });
      seen = generation_.load();
      if (stop_) return;
      if (job_ == nullptr) continue;
      Job& job = *job_;
      ++inside_;
      lock.unlock();
      job.run();
      lock.lock();
      if (--inside_ == 0) idle_.notify_one();
    }
  }

  const long owner_;
  std::mutex turn_;   // held by the caller whose job runs
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_, idle_;
  std::atomic<std::uint64_t> generation_{0};
  Job* job_ = nullptr;
  int inside_ = 0;
  bool stop_ = false;
  std::vector<std::thread> workers_;
};

// The pool is never destroyed at exit: its threads may sleep while static objects go away.
std::atomic<Pool*> current_pool{nullptr};
std::atomic<int> wanted_threads{0};
thread_local bool inside_body = false;

Pool& pool() {
  Pool* existing = current_pool.load();
  if (existing != nullptr && existing->owner() == process_id()) return *existing;
  // First use, or a fork: the threads of the parent's pool do not exist here, so it is left behind as it is.
  Pool* fresh = new Pool(threads());
  if (current_pool.compare_exchange_strong(existing, fresh)) return *fresh;
  delete fresh;
  return *existing;
}

/// Marks this thread as being in a body, so that nested loops run inline.
struct Inside {
  Inside() { inside_body = true; }
  ~Inside() { inside_body = false; }
};

}  // namespace

int threads() {
  const int wanted = wanted_threads.load();
  static const int cores = count_cores();
  return wanted > 0 ? wanted : cores;
}

void set_threads(int n) {
  wanted_threads.store(std::max(0, n));
  Pool* old = current_pool.exchange(nullptr);
  if (old != nullptr && old->owner() == process_id()) delete old;
}

void parallel_for(std::int64_t n, std::int64_t grain, const Body& body) {
  if (n <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  if (n > grain && !inside_body && threads() > 1) {
    Pool& workers = pool();
    // About four chunks per thread even out cores of unequal speed. Chunks are multiples of the grain.
    const std::int64_t share = n / (4 * workers.threads());
    const std::int64_t chunk = std::max<std::int64_t>(share / grain, 1) * grain;
    const Body marked = [&body](std::int64_t begin, std::int64_t end) {
      const Inside inside;
      body(begin, end);
    };
    Job job(n, chunk, marked);
    if (workers.try_run(job)) {
      if (job.error) std::rethrow_exception(job.error);
      return;
    }
  }
  const FpEnv env;
  body(0, n);
}

}  // namespace fp8ref::cpu
