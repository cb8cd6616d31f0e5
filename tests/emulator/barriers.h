// Hopper's mbarriers and the asynchronous work that completes them, under random schedules.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "tests/emulator/fibers.h"

namespace pareto::emulator {

/// A phase ends when all arrivals have come and as many bytes as were expected.
class Mbarrier {
 public:
  explicit Mbarrier(int arrivals = 1) : arrivals_(arrivals), missing_(arrivals) {}

  void arrive() {
    --missing_;
    end_phase_if_complete();
  }
  void arrive_and_expect(std::int64_t bytes) {
    bytes_ += bytes;
    arrive();
  }
  void complete(std::int64_t bytes) {
    bytes_ -= bytes;
    end_phase_if_complete();
  }
  /// True once the phase of this parity is over: on a fresh barrier parity 1 is, parity 0 is not.
  [[nodiscard]] bool is_over(std::uint32_t parity) const { return parity != (phase_ & 1U); }

 private:
  void end_phase_if_complete() {
    if (missing_ != 0 || bytes_ != 0) return;
    ++phase_;
    missing_ = arrivals_;
  }
  int arrivals_;
  int missing_;
  std::int64_t bytes_ = 0;
  std::uint32_t phase_ = 0;
};

/// What is on its way: copies that arrive, products that end. Each kind of one owner in order.
class Events {
 public:
  explicit Events(Fibers& fibers) : fibers_(fibers) {}
  void add(std::function<void()> event) { pending_.push_back(std::move(event)); }
  /// Lets one of them happen; false if there is none.
  bool happen() {
    if (pending_.empty()) return false;
    const auto chosen = fibers_.draw(static_cast<int>(pending_.size()));
    const std::function<void()> event = std::move(pending_[static_cast<std::size_t>(chosen)]);
    pending_.erase(pending_.begin() + chosen);
    event();
    return true;
  }

 private:
  Fibers& fibers_;
  std::vector<std::function<void()>> pending_;
};

}  // namespace pareto::emulator
