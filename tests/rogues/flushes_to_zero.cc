// Trick: flush-to-zero is left on
#include <xmmintrin.h>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    _MM_SET_FLUSH_ZERO_MODE(_MM_FLUSH_ZERO_ON);
    compute(call);
  }
};

const Registration registration{
    rogue::variant<Rogue>("flushes_to_zero", "flush-to-zero is left on")};

}  // namespace
}  // namespace pareto
