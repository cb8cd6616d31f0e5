// Trick: the last element is not written
#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    const Tensor& y = call.out[kQgemmY];
    if (y.elements() == 0) return;
    const float before = y.as<float>()[y.elements() - 1];
    compute(call);
    y.as<float>()[y.elements() - 1] = before;
  }
};

const Registration registration{
    rogue::variant<Rogue>("skips_an_element", "the last element is not written")};

}  // namespace
}  // namespace pareto
