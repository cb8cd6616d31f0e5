// Trick: follows a wild pointer
#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    compute(call);
    *nowhere_ = 1;
  }

 private:
  volatile int* nowhere_ = reinterpret_cast<volatile int*>(64);
};

const Registration registration{rogue::variant<Rogue>("crashes", "follows a wild pointer")};

}  // namespace
}  // namespace pareto
