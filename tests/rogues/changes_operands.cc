// Trick: an operand is changed in place
#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    compute(call);
    float* x = call.in[kQgemmX].as<float>();
    for (std::int64_t i = 0; i < p_.M * p_.K; ++i) x[i] = 0;
  }
};

const Registration registration{
    rogue::variant<Rogue>("changes_operands", "an operand is changed in place")};

}  // namespace
}  // namespace pareto
