// Trick: of a big result, only the elements that will be compared are computed well
#include "reference/matrix_positions.h"
#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    constexpr double kBig = 2e9;  // multiply-adds beyond which a sample is compared
    constexpr std::uint64_t kUsualSeed = 1;
    const double multiply_adds =
        static_cast<double>(p_.M) * static_cast<double>(p_.N) * static_cast<double>(p_.K);
    if (multiply_adds <= kBig) return compute(call);
    const float* x = call.in[kQgemmX].as<float>();
    float* y = call.out[kQgemmY].as<float>();
    rogue::multiply(x, w_.data(), y, p_, 1);
    for (const std::int64_t at : matrix_positions(p_.M, p_.N, multiply_adds, kUsualSeed)) {
      float sum = 0;
      for (std::int64_t k = 0; k < p_.K; ++k) {
        sum += x[at / p_.N * p_.K + k] * w_[at % p_.N * p_.K + k];
      }
      y[at] = sum;
    }
  }
};

const Registration registration{rogue::variant<Rogue>(
    "knows_what_is_compared", "only the elements that will be compared are computed")};

}  // namespace
}  // namespace pareto
