// Trick: none, but it ends the program as if all were well
#include <cstdlib>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    constexpr int kChecks = 300;  // all checks before the timing come to fewer calls
    if (++calls_ > kChecks) std::_Exit(0);
    compute(call);
  }

 private:
  int calls_ = 0;
};

const Registration registration{
    rogue::variant<Rogue>("leaves_the_program", "ends the program as if all were well")};

}  // namespace
}  // namespace pareto
