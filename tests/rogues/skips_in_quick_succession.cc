// Trick: a call that follows another at once leaves the output of that one
#include <x86intrin.h>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    // Checks look at the output between two calls, which takes longer than this.
    constexpr std::uint64_t kAtOnce = 4000;  // cycles of the time-stamp counter
    const bool again = call.out[kQgemmY].data == last_out_ && __rdtsc() - last_call_ < kAtOnce;
    if (!again) compute(call);
    last_out_ = call.out[kQgemmY].data;
    last_call_ = __rdtsc();
  }

 private:
  const std::byte* last_out_ = nullptr;
  std::uint64_t last_call_ = 0;
};

const Registration registration{rogue::variant<Rogue>("skips_in_quick_succession",
                                                      "a call at once after another does nothing")};

}  // namespace
}  // namespace pareto
