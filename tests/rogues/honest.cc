// Trick: none: the control, which must pass
#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override { compute(call); }
};

const Registration registration{
    rogue::variant<Rogue>("honest", "none: the control, which must pass")};

}  // namespace
}  // namespace pareto
