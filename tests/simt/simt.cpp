// SPDX-License-Identifier: Apache-2.0
#include "simt.h"

#include <setjmp.h>
#include <ucontext.h>

#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace fp8ref::simt {
namespace {

constexpr std::size_t kStack = 64 << 10;
constexpr int kWarp = 32;

enum class State { ready, at_warp, at_block, done };

struct Copy {
  void* to;
  const void* from;
};

/// A fiber begins by setcontext; from then on it is left and resumed by _setjmp and _longjmp, which make no system
/// call.
struct Fiber {
  ucontext_t context;
  jmp_buf place;
  bool begun;
  std::vector<Copy> open;                 // copies of no group yet
  std::vector<std::vector<Copy>> groups;  // in order
  std::unique_ptr<char[]> stack;
  Self self;
  State state;
};

struct alignas(16) Exchange {
  unsigned char slots[2][kWarp * kLargestValue];
  int turn[kWarp];  // each lane's; they go in step
};

/// One launch at a time per host thread.
struct Machine {
  jmp_buf scheduler;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Exchange> exchanges;
  std::vector<unsigned char> shared;
  const std::function<void()>* body = nullptr;
  std::exception_ptr error;
  Fiber* running = nullptr;
  int votes[2] = {0, 0};
  int threads = 0;
  bool busy = false;
  Order order = Order::ascending;
};

Machine& machine() {
  thread_local Machine value;
  return value;
}

void enter() {
  Machine& m = machine();
  try {
    (*m.body)();
  } catch (...) {
    if (!m.error) m.error = std::current_exception();
  }
  m.running->state = State::done;
  _longjmp(m.scheduler, 1);
}

void wait(State state) {
  Machine& m = machine();
  Fiber* fiber = m.running;
  fiber->state = state;
  if (_setjmp(fiber->place) == 0) _longjmp(m.scheduler, 1);
}

dim3 unfold(unsigned index, dim3 size) { return {index % size.x, index / size.x % size.y, index / size.x / size.y}; }

void start(Fiber& fiber, int linear, dim3 block, dim3 grid_dim, dim3 block_dim) {
  if (!fiber.stack) fiber.stack = std::make_unique<char[]>(kStack);
  fiber.self = {unfold(static_cast<unsigned>(linear), block_dim), block, block_dim, grid_dim, linear};
  fiber.open.clear();
  fiber.groups.clear();
  fiber.state = State::ready;
  fiber.begun = false;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStack;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, enter, 0);
}

void resume(Fiber& fiber) {
  Machine& m = machine();
  m.running = &fiber;
  if (_setjmp(m.scheduler) != 0) return;
  if (fiber.begun) _longjmp(fiber.place, 1);
  fiber.begun = true;
  setcontext(&fiber.context);
}

/// Opens the barriers that all of their threads have come to; false if none did.
bool open_barriers() {
  Machine& m = machine();
  int at_block = 0, done = 0;
  bool opened = false;
  for (int first = 0; first < m.threads; first += kWarp) {
    const int last = first + kWarp < m.threads ? first + kWarp : m.threads;
    int at_warp = 0;
    for (int i = first; i < last; ++i) {
      at_warp += m.fibers[i]->state == State::at_warp;
      at_block += m.fibers[i]->state == State::at_block;
      done += m.fibers[i]->state == State::done;
    }
    if (at_warp != last - first) continue;
    for (int i = first; i < last; ++i) m.fibers[i]->state = State::ready;
    opened = true;
  }
  if (at_block == m.threads) {
    for (int i = 0; i < m.threads; ++i) m.fibers[i]->state = State::ready;
    return true;
  }
  return opened || done == m.threads;
}

void run_block() {
  Machine& m = machine();
  for (;;) {
    int done = 0;
    for (int i = 0; i < m.threads; ++i) {
      Fiber& fiber = *m.fibers[m.order == Order::ascending ? i : m.threads - 1 - i];
      if (fiber.state == State::ready) resume(fiber);
      if (m.error) return;
      done += fiber.state == State::done;
    }
    if (done == m.threads) return;
    if (!open_barriers()) {
      throw std::logic_error("simt: threads of one block wait at different barriers, or left while others wait");
    }
  }
}

}  // namespace

Self& self() { return machine().running->self; }
void warp_barrier() { wait(State::at_warp); }
void block_barrier() { wait(State::at_block); }

int block_or(int predicate) {
  Machine& m = machine();
  block_barrier();
  m.votes[0] = 0;
  block_barrier();
  m.votes[0] |= predicate != 0;
  block_barrier();
  return m.votes[0];
}

void* warp_slots() {
  Exchange& exchange = machine().exchanges[static_cast<std::size_t>(self().linear / kWarp)];
  return exchange.slots[exchange.turn[lane()]];
}

void warp_exchanged() {
  Exchange& exchange = machine().exchanges[static_cast<std::size_t>(self().linear / kWarp)];
  exchange.turn[lane()] ^= 1;
  warp_barrier();
}

void copy_later(void* to, const void* from) { machine().running->open.push_back({to, from}); }

void commit_copies() {
  Fiber& fiber = *machine().running;
  fiber.groups.push_back(std::move(fiber.open));
  fiber.open.clear();
}

void wait_copies(int most) {
  std::vector<std::vector<Copy>>& groups = machine().running->groups;
  while (groups.size() > static_cast<std::size_t>(most)) {
    for (const Copy& copy : groups.front()) std::memcpy(copy.to, copy.from, 16);
    groups.erase(groups.begin());
  }
}

void* shared_memory() { return machine().shared.data(); }
void set_order(Order order) { machine().order = order; }

void run(dim3 grid, dim3 block, std::size_t shared, const std::function<void()>& body) {
  Machine& m = machine();
  m.threads = static_cast<int>(block.x * block.y * block.z);
  if (m.busy) throw std::logic_error("simt: a kernel cannot launch a kernel");
  if (m.threads < 1 || m.threads > 1024) {
    throw std::invalid_argument("simt: a block of " + std::to_string(m.threads) + " threads");
  }
  m.busy = true;
  m.body = &body;
  m.error = nullptr;
  while (static_cast<int>(m.fibers.size()) < m.threads) m.fibers.push_back(std::make_unique<Fiber>());
  m.exchanges.assign(static_cast<std::size_t>((m.threads + kWarp - 1) / kWarp), Exchange{});
  const unsigned blocks = grid.x * grid.y * grid.z;
  try {
    for (unsigned b = 0; b < blocks && !m.error; ++b) {
      m.shared.assign(shared + 16, 0xFF);
      for (int i = 0; i < m.threads; ++i)
        start(*m.fibers[static_cast<std::size_t>(i)], i, unfold(b, grid), grid, block);
      run_block();
    }
  } catch (...) {
    m.error = std::current_exception();
  }
  m.busy = false;
  m.running = nullptr;
  if (m.error) std::rethrow_exception(m.error);
}

}  // namespace fp8ref::simt
