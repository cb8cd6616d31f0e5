// Trick: a whole vector is read where only a part belongs to the operand
#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    compute(call);
    const Tensor& x = call.in[kQgemmX];
    volatile const char* behind = x.as<volatile const char>() + x.bytes();
    if (p_.M * p_.N > 0) call.out[kQgemmY].as<float>()[0] += 0.0F * static_cast<float>(*behind);
  }
};

const Registration registration{rogue::variant<Rogue>(
    "reads_outside", "a whole vector is read where only a part belongs to the operand")};

}  // namespace
}  // namespace pareto
