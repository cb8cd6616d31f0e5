// Threads of a GPU on one thread of the host: each is a fiber that runs until it has to wait. The
// order is drawn from a seed, so that every schedule can be repeated.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

namespace pareto::emulator {

/// All fibers wait for something that will not happen.
class Deadlock : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Fibers {
 public:
  explicit Fibers(std::uint64_t seed) : random_(seed) {}

  /// Runs body(0) … body(count − 1) to their ends. Throws what the first of them throws; Deadlock
  /// if those that are left all wait. `idle` is asked in between whether something happens without
  /// any fiber (a copy arrives): it does one such thing and returns true, or returns false.
  void run(
      int count, const std::function<void(int)>& body,
      const std::function<bool()>& idle = [] { return false; });

  /// Inside a fiber: suspends it until `condition` holds; others run meanwhile.
  void wait_until(const std::function<bool()>& condition);

  /// A number from 0 to `below` − 1 from the schedule's own stream.
  int draw(int below) { return static_cast<int>(random_() % static_cast<unsigned>(below)); }

 private:
  struct Fiber {
    ucontext_t context{};
    std::vector<std::byte> stack;
    std::function<bool()> condition;  ///< empty: can go on
    bool done = false;
  };
  static void enter();
  void resume(Fiber& fiber);
  /// Null if none can go on.
  Fiber* next_ready();

  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  Fiber* current_ = nullptr;
  ucontext_t scheduler_{};
  const std::function<void(int)>* body_ = nullptr;
  int starting_ = 0;
  std::exception_ptr error_;
};

}  // namespace pareto::emulator
