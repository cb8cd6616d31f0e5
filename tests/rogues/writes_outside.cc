// Trick: one byte is written behind the output
#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    compute(call);
    const Tensor& y = call.out[kQgemmY];
    y.data[y.bytes()] = std::byte{0};
  }
};

const Registration registration{
    rogue::variant<Rogue>("writes_outside", "one byte is written behind the output")};

}  // namespace
}  // namespace pareto
