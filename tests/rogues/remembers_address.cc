// Trick: the result is remembered under the address of x
#include <vector>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    const Tensor& y = call.out[kQgemmY];
    if (seen_ != call.in[kQgemmX].data) {
      result_.resize(static_cast<std::size_t>(y.elements()));
      compute_into(call, result_.data());
      seen_ = call.in[kQgemmX].data;
    }
    if (y.bytes() > 0) std::memcpy(y.data, result_.data(), y.bytes());
  }

 private:
  const std::byte* seen_ = nullptr;
  std::vector<float> result_;
};

const Registration registration{
    rogue::variant<Rogue>("remembers_address", "the result is remembered under the address of x")};

}  // namespace
}  // namespace pareto
