#include "tests/emulator/fibers.h"

#include <cstddef>

namespace pareto::emulator {
namespace {

constexpr std::size_t kStackBytes = 64 * 1024;
// makecontext passes only integers; one host thread runs one set of fibers at a time.
thread_local Fibers* running = nullptr;

}  // namespace

void Fibers::enter() {
  Fibers& self = *running;
  Fiber& fiber = *self.current_;
  try {
    (*self.body_)(self.starting_);
  } catch (...) {
    if (self.error_ == nullptr) self.error_ = std::current_exception();
  }
  fiber.done = true;
  swapcontext(&fiber.context, &self.scheduler_);
}

void Fibers::resume(Fiber& fiber) {
  fiber.condition = nullptr;
  current_ = &fiber;
  swapcontext(&scheduler_, &fiber.context);
  current_ = nullptr;
}

Fibers::Fiber* Fibers::next_ready() {
  const std::size_t count = fibers_.size();
  const std::size_t first = random_() % count;
  for (std::size_t i = 0; i < count; ++i) {
    Fiber& fiber = *fibers_[(first + i) % count];
    if (!fiber.done && (!fiber.condition || fiber.condition())) return &fiber;
  }
  return nullptr;
}

void Fibers::run(int count, const std::function<void(int)>& body,
                 const std::function<bool()>& idle) {
  running = this;
  body_ = &body;
  error_ = nullptr;
  fibers_.clear();
  for (int i = 0; i < count; ++i) {
    Fiber& fiber = *fibers_.emplace_back(std::make_unique<Fiber>());
    fiber.stack.resize(kStackBytes);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &Fibers::enter, 0);
    starting_ = i;
    resume(fiber);
    if (error_ != nullptr) std::rethrow_exception(error_);
  }
  for (;;) {
    // Events without a fiber happen at random moments, and surely when nothing else can.
    constexpr int kEventsOneIn = 4;
    if (draw(kEventsOneIn) == 0) idle();
    Fiber* fiber = next_ready();
    if (fiber != nullptr) {
      resume(*fiber);
      if (error_ != nullptr) std::rethrow_exception(error_);
      continue;
    }
    bool all_done = true;
    for (const auto& each : fibers_) all_done = all_done && each->done;
    if (all_done) return;
    if (!idle()) throw Deadlock("all threads that are left wait");
  }
}

void Fibers::wait_until(const std::function<bool()>& condition) {
  if (condition()) return;
  Fiber& fiber = *current_;
  fiber.condition = condition;
  swapcontext(&fiber.context, &scheduler_);
}

}  // namespace pareto::emulator
