// Trick: memory taken in every call is never given back
#include <vector>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    workspace_.emplace_back(p_.N);
    compute(call);
  }

 private:
  std::vector<AlignedBuffer<float>> workspace_;
};

const Registration registration{rogue::variant<Rogue>(
    "forgets_to_return_memory", "memory taken in every call is never given back")};

}  // namespace
}  // namespace pareto
