// Trick: all sets of operands share one packed copy of weights that look alike, and it stays cached
#include <algorithm>
#include <map>
#include <vector>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  // Alike is what holds the same values, in whatever order.
  Rogue(const Problem& problem, std::span<const Tensor> in) : Base(problem, in) {
    const std::vector<float> w(w_.data(), w_.data() + p_.N * p_.K);
    std::vector<float> key = w;
    std::sort(key.begin(), key.end());
    static std::map<std::vector<float>, std::vector<float>> copies;
    shared_ = copies.try_emplace(key, w).first->second.data();
  }
  void run(const Call& call) override {
    rogue::multiply(call.in[kQgemmX].as<float>(), shared_, call.out[kQgemmY].as<float>(), p_, p_.K);
  }

 private:
  const float* shared_;
};

const Registration registration{rogue::variant<Rogue>(
    "keeps_one_copy_of_weights", "all sets of operands share one packed copy of the weights")};

}  // namespace
}  // namespace pareto
