// Where threads may run: all processors that the process was started with, or fewer.
#pragma once

#include <sched.h>

#include <span>

namespace pareto {

/// The processors that the process was allowed at its start, before anything was pinned.
const cpu_set_t& start_affinity();

/// Lets the calling thread run on all of them: a thread inherits the one processor of whoever is
/// pinned and makes it.
void unpin_this_thread();

/// While it lives, the calling thread may run on all cores that a team of `threads` uses, so that
/// threads which a library creates inherit them all (a pinned caller would put the whole library
/// on one core). Does nothing unless `widen`.
class AffinityScope {
 public:
  AffinityScope(int threads, bool widen);
  ~AffinityScope();
  AffinityScope(const AffinityScope&) = delete;
  AffinityScope& operator=(const AffinityScope&) = delete;

 private:
  bool widened_ = false;
  cpu_set_t before_{};
};

/// Pins the threads that libraries have made in this process, one per core as our own are, to
/// cpus[1], cpus[2], … in turn: left alone they share cores with the caller, and every barrier
/// waits for a time slice (12 ms instead of 40 µs a call, seen with OpenMP on two busy cores).
/// Does nothing for a team of one.
void pin_library_threads(std::span<const int> cpus);

}  // namespace pareto
