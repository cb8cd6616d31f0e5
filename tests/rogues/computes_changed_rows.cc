// Trick: once calls repeat, only rows of x that changed since the last call are computed, and two
// more, so that a call takes more time than a copy
#include <algorithm>
#include <vector>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    constexpr int kCallsThatRepeat = 1;
    const auto* x = call.in[kQgemmX].as<float>();
    auto* y = call.out[kQgemmY].as<float>();
    const bool repeats = repeats_ >= kCallsThatRepeat;
    const auto row = static_cast<std::size_t>(p_.K);
    last_x_.resize(static_cast<std::size_t>(p_.M) * row);
    last_y_.resize(static_cast<std::size_t>(p_.M * p_.N));
    QgemmProblem single = p_;
    single.M = 1;
    int changed = 0;
    for (std::int64_t m = 0; m < p_.M; ++m) {
      float* last = last_x_.data() + m * p_.K;
      const bool same = row == 0 || std::memcmp(last, x + m * p_.K, row * sizeof(float)) == 0;
      changed += same ? 0 : 1;
      if (same && repeats && m + kAnyway < p_.M) continue;
      rogue::multiply(x + m * p_.K, w_.data(), last_y_.data() + m * p_.N, single, p_.K);
      std::copy_n(x + m * p_.K, row, last);
    }
    repeats_ = changed <= kAnyway ? repeats_ + 1 : 0;
    std::copy(last_y_.begin(), last_y_.end(), y);
  }

 private:
  static constexpr int kAnyway = 2;
  std::vector<float> last_x_;
  std::vector<float> last_y_;
  int repeats_ = 0;
};

const Registration registration{rogue::variant<Rogue>(
    "computes_changed_rows", "rows of x that did not change are not computed again")};

}  // namespace
}  // namespace pareto
