// Trick: none, but it gives up in the midst of the timing
#include <stdexcept>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    constexpr int kChecks = 300;  // all checks before the timing come to fewer calls
    if (++calls_ > kChecks) throw std::runtime_error("no more of this");
    compute(call);
  }

 private:
  int calls_ = 0;
};

const Registration registration{
    rogue::variant<Rogue>("throws_in_the_end", "throws an exception in the midst of the timing")};

}  // namespace
}  // namespace pareto
