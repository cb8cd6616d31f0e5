// Trick: its own registration is changed while it runs: a baseline may fail and keep its times
#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    const Variant& self = find_variant(find_op("qgemm"), "rogue_declares_itself_a_baseline");
    const_cast<Variant&>(self).baseline = true;
    const QgemmProblem& p = p_;
    rogue::multiply(call.in[kQgemmX].as<float>(), w_.data(), call.out[kQgemmY].as<float>(), p,
                    p.K / 2);
  }
};

const Registration registration{rogue::variant<Rogue>(
    "declares_itself_a_baseline", "changes its own registration while it runs")};

}  // namespace
}  // namespace pareto
