// Trick: results differ from call to call
#include <cmath>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    compute(call);
    if (++calls_ % 3 != 0) return;
    float* y = call.out[kQgemmY].as<float>();
    for (std::int64_t i = 0; i < p_.M * p_.N; ++i) y[i] = std::nextafter(y[i], 0.0F);
  }

 private:
  int calls_ = 0;
};

const Registration registration{
    rogue::variant<Rogue>("depends_on_chance", "results differ from call to call")};

}  // namespace
}  // namespace pareto
