// Trick: honest on small shapes, a part of K left out on those that get timed
#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    const bool timed_shape = p_.M == 16 && p_.N == 64 && p_.K == 64;
    rogue::multiply(call.in[kQgemmX].as<float>(), w_.data(), call.out[kQgemmY].as<float>(), p_,
                    timed_shape ? p_.K / 2 : p_.K);
  }
};

const Registration registration{rogue::variant<Rogue>(
    "knows_the_shape", "honest on small shapes, a part of K left out on those that get timed")};

}  // namespace
}  // namespace pareto
