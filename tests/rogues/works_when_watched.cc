// Trick: computes only where it sees the poison of a check
#include <cmath>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    const Tensor& y = call.out[kQgemmY];
    if (y.elements() == 0 || std::isnan(y.as<float>()[0])) compute(call);
  }
};

const Registration registration{rogue::variant<Rogue>(
    "works_when_watched", "computes only where it sees the poison of a check")};

}  // namespace
}  // namespace pareto
