// Trick: right only for the first calls of the process
#include <atomic>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    // More than the 400 calls of all checks before the timing, fewer than those and the timed ones.
    constexpr int kHonestCalls = 700;
    static std::atomic<int> calls{0};
    if (++calls <= kHonestCalls) compute(call);
  }
};

const Registration registration{
    rogue::variant<Rogue>("right_at_first", "right only for the first calls of the process")};

}  // namespace
}  // namespace pareto
