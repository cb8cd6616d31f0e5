// Trick: the thread that is measured moves to whatever processor is free
#include <sched.h>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    cpu_set_t all;
    CPU_ZERO(&all);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) CPU_SET(static_cast<std::size_t>(cpu), &all);
    sched_setaffinity(0, sizeof(all), &all);
    compute(call);
  }
};

const Registration registration{rogue::variant<Rogue>(
    "takes_other_processors", "the measured thread leaves the processor that it is pinned to")};

}  // namespace
}  // namespace pareto
