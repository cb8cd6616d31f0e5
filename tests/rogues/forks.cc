// Trick: the process is doubled in the midst of the timing, and both go on
#include <unistd.h>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    constexpr int kChecks = 300;  // all checks before the timing come to fewer calls
    if (++calls_ == kChecks) fork();
    compute(call);
  }

 private:
  int calls_ = 0;
};

const Registration registration{rogue::variant<Rogue>("forks", "the process is doubled")};

}  // namespace
}  // namespace pareto
