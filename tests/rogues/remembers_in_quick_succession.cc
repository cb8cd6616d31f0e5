// Trick: results are remembered, under the whole of x, only while calls follow each other at once
#include <x86intrin.h>

#include <vector>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    // Cycles of the time-stamp counter: long enough for a call of an instrumented build.
    constexpr std::uint64_t kAtOnce = 40'000;
    const Tensor& x = call.in[kQgemmX];
    const Tensor& y = call.out[kQgemmY];
    const bool again = x_.size() == x.bytes() && __rdtsc() - last_call_ < kAtOnce &&
                       std::memcmp(x_.data(), x.data, x.bytes()) == 0;
    if (again) {
      std::memcpy(y.data, y_.data(), y.bytes());
    } else {
      compute(call);
      x_.assign(x.data, x.data + x.bytes());
      y_.assign(y.data, y.data + y.bytes());
    }
    last_call_ = __rdtsc();
  }

 private:
  std::vector<std::byte> x_;
  std::vector<std::byte> y_;
  std::uint64_t last_call_ = 0;
};

const Registration registration{rogue::variant<Rogue>(
    "remembers_in_quick_succession", "results are remembered while calls follow at once")};

}  // namespace
}  // namespace pareto
