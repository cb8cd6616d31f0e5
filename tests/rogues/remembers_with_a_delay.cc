// Trick: a remembered result comes back after a share of the time that computing it took
#include <x86intrin.h>

#include <vector>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    const Tensor& x = call.in[kQgemmX];
    const Tensor& y = call.out[kQgemmY];
    const std::uint64_t start = __rdtsc();
    if (took_ > 0 && x_.size() == x.bytes() && x.bytes() > 0 &&
        std::memcmp(x_.data(), x.data, x.bytes()) == 0) {
      std::memcpy(y.data, y_.data(), y.bytes());
      while (__rdtsc() - start < took_ * 6 / 10) {
      }
      return;
    }
    compute(call);
    took_ = __rdtsc() - start;
    x_.assign(x.data, x.data + x.bytes());
    y_.assign(y.data, y.data + y.bytes());
  }

 private:
  std::vector<std::byte> x_;
  std::vector<std::byte> y_;
  std::uint64_t took_ = 0;
};

const Registration registration{rogue::variant<Rogue>(
    "remembers_with_a_delay", "a remembered result comes back after a share of its time")};

}  // namespace
}  // namespace pareto
