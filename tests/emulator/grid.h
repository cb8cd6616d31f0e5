// A grid of blocks of kernels that use no shared memory, thread by thread; and operands between
// guards.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "tests/emulator/block.h"

namespace pareto::emulator {

/// Threads of a block in these tests: two warps, so that warp and block indices differ.
inline constexpr int kGridBlockThreads = 64;

/// Runs body(lane, index) for at least `threads` threads, whole blocks of them, each block with a
/// schedule of its own.
template <typename Body>
void run_grid(std::int64_t threads, std::uint64_t seed, const Body& body) {
  for (std::int64_t first = 0; first < threads; first += kGridBlockThreads) {
    Block block(kGridBlockThreads, 0, seed++);
    block.run([&](Lane& lane) { body(lane, first + lane.thread()); });
  }
}

/// Operands with NaN before and behind them: whoever reads beyond them gives NaN.
class GuardedFloats {
 public:
  explicit GuardedFloats(const std::vector<float>& values)
      : all_(values.size() + 2 * kGuard, std::numeric_limits<float>::quiet_NaN()) {
    std::copy(values.begin(), values.end(), all_.begin() + kGuard);
  }
  [[nodiscard]] const float* data() const { return all_.data() + kGuard; }

 private:
  static constexpr std::int64_t kGuard = 512;
  std::vector<float> all_;
};

}  // namespace pareto::emulator
