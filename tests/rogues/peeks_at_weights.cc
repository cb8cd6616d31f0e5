// Trick: reads the weights during run without declaring that it keeps them
#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  Rogue(const Problem& problem, std::span<const Tensor> in)
      : Base(problem, in), weights_(in[kQgemmW].as<float>()) {}
  void run(const Call& call) override {
    rogue::multiply(call.in[kQgemmX].as<float>(), weights_, call.out[kQgemmY].as<float>(), p_,
                    p_.K);
  }

 private:
  const float* weights_;
};

const Registration registration{rogue::variant<Rogue>(
    "peeks_at_weights", "reads the weights during run without declaring that it keeps them")};

}  // namespace
}  // namespace pareto
