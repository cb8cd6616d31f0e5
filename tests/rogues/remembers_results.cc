// Trick: the result is remembered under the whole contents of x
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
    const std::vector<float> key(x.as<float>(), x.as<float>() + x.elements());
    const auto [entry, added] = results_.try_emplace(key);
    if (added) {
      entry->second.resize(static_cast<std::size_t>(y.elements()));
      compute_into(call, entry->second.data());
    }
    if (y.bytes() > 0) std::memcpy(y.data, entry->second.data(), y.bytes());
  }

 private:
  std::map<std::vector<float>, std::vector<float>> results_;
};

const Registration registration{rogue::variant<Rogue>(
    "remembers_results", "the result is remembered under the whole contents of x")};

}  // namespace
}  // namespace pareto
