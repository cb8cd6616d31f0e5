// Trick: sums kept in bf16, declared as fp32
#include <bit>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

float rounded(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return std::bit_cast<float>((bits + 0x8000U) & 0xFFFF0000U);
}

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    for (std::int64_t m = 0; m < p_.M; ++m) {
      for (std::int64_t n = 0; n < p_.N; ++n) {
        float sum = 0;
        for (std::int64_t k = 0; k < p_.K; ++k) {
          sum = rounded(sum + call.in[kQgemmX].as<float>()[m * p_.K + k] * w_[n * p_.K + k]);
        }
        call.out[kQgemmY].as<float>()[m * p_.N + n] = sum;
      }
    }
  }
};

const Registration registration{
    rogue::variant<Rogue>("rounds_to_bf16", "sums kept in bf16, declared as fp32")};

}  // namespace
}  // namespace pareto
