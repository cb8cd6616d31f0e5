// Where the calling thread may run while somebody else's library makes its threads.
#pragma once

#include <sched.h>

namespace pareto {

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

}  // namespace pareto
