// Trick: learns how many calls follow each other at once, and then computes but the first and the
// last of them
#include <x86intrin.h>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    constexpr std::uint64_t kAtOnce = 160;  // cycles of the time-stamp counter
    constexpr int kSeenOften = 20;
    if (__rdtsc() - last_call_ > kAtOnce) learn();
    ++count_;
    const bool skips = seen_ > kSeenOften && count_ > 1 && count_ < length_;
    if (!skips) compute(call);
    last_call_ = __rdtsc();
  }

 private:
  // A group has ended. Checks bring short ones, and now and then another length.
  void learn() {
    constexpr int kShort = 4;
    constexpr int kNoLongerTrue = 4;
    if (count_ == length_) {
      ++seen_;
      others_ = 0;
    } else if (count_ >= kShort && ++others_ == kNoLongerTrue) {
      length_ = count_;
      seen_ = others_ = 0;
    }
    count_ = 0;
  }

  std::uint64_t last_call_ = 0;
  int count_ = 0;
  int length_ = 0;
  int seen_ = 0;
  int others_ = 0;
};

const Registration registration{rogue::variant<Rogue>(
    "computes_first_and_last", "of calls at once after each other only two are computed")};

}  // namespace
}  // namespace pareto
