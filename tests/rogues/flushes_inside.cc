// Trick: subnormal numbers count as zero during the call, which the declared arithmetic does not
// say
#include <x86intrin.h>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    const unsigned modes = _mm_getcsr();
    _mm_setcsr(modes | _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON);
    compute(call);
    _mm_setcsr(modes);
  }
};

const Registration registration{
    rogue::variant<Rogue>("flushes_inside", "subnormal numbers count as zero during the call")};

}  // namespace
}  // namespace pareto
