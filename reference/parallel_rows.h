// Threads over rows for references and encoders: plain std::thread, because nothing here is timed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

#include "harness/affinity.h"

namespace pareto {

/// Threads worth starting for `work` elementary steps: one below a million, at most what the
/// machine has, at most 16.
inline int threads_for(std::int64_t work) {
  if (work < 1'000'000) return 1;
  return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 16U));
}

/// Calls body(begin, end) on `threads` contiguous parts of [0, rows); rethrows the exception of the
/// lowest part, so that errors do not depend on timing. Results must not depend on the parts.
template <typename Body>
void parallel_rows(std::int64_t rows, int threads, const Body& body) {
  const std::int64_t parts = std::clamp<std::int64_t>(threads, 1, std::max<std::int64_t>(rows, 1));
  if (parts == 1) {
    body(std::int64_t{0}, rows);
    return;
  }
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(parts));
  std::vector<std::thread> team;
  team.reserve(static_cast<std::size_t>(parts));
  for (std::int64_t part = 0; part < parts; ++part) {
    team.emplace_back([&, part] {
      unpin_this_thread();  // a caller that measures is pinned to one processor
      try {
        body(rows * part / parts, rows * (part + 1) / parts);
      } catch (...) {
        errors[static_cast<std::size_t>(part)] = std::current_exception();
      }
    });
  }
  for (std::thread& member : team) member.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace pareto
