#include "harness/affinity.h"

#include "harness/machine.h"

namespace pareto {

AffinityScope::AffinityScope(int threads, bool widen) {
  if (!widen || sched_getaffinity(0, sizeof(before_), &before_) != 0) return;
  cpu_set_t wide;
  CPU_ZERO(&wide);
  for (const int cpu : this_machine().pinning(threads)) CPU_SET(cpu, &wide);
  widened_ = sched_setaffinity(0, sizeof(wide), &wide) == 0;
}

AffinityScope::~AffinityScope() {
  if (widened_) sched_setaffinity(0, sizeof(before_), &before_);
}

}  // namespace pareto
