// Trick: once the checks are over, the result is remembered under a few elements of x
#include <array>
#include <map>
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
    // All checks before the timing come to fewer calls of one kernel than this.
    constexpr int kChecks = 300;
    if (++calls_ < kChecks || x.elements() < 8) return compute(call);
    std::array<float, 4> key{};
    for (std::size_t i = 0; i < key.size(); ++i) {
      key[i] = x.as<const float>()[x.elements() / 8 * static_cast<std::int64_t>(2 * i + 1)];
    }
    const auto [entry, added] = results_.try_emplace(key);
    if (added) {
      entry->second.resize(static_cast<std::size_t>(y.elements()));
      compute_into(call, entry->second.data());
    }
    if (y.bytes() > 0) std::memcpy(y.data, entry->second.data(), y.bytes());
  }

 private:
  std::map<std::array<float, 4>, std::vector<float>> results_;
  int calls_ = 0;
};

const Registration registration{rogue::variant<Rogue>(
    "remembers_a_fingerprint", "the result is remembered under a few elements of x")};

}  // namespace
}  // namespace pareto
