// Trick: the work is done by a thread after run has returned
#include <chrono>
#include <thread>
#include <vector>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

// Writes while others read: that is the trick, and nothing for a race detector to report.
__attribute__((no_sanitize("thread"), noinline)) void copy_unseen(const float* from, float* to,
                                                                  std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = from[i];
}

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  ~Rogue() override {
    if (worker_.joinable()) worker_.join();
  }
  void run(const Call& call) override {
    if (worker_.joinable()) worker_.join();
    const Tensor x = call.in[kQgemmX];
    const Tensor y = call.out[kQgemmY];
    x_.assign(x.as<float>(), x.as<float>() + x.elements());
    y_.resize(static_cast<std::size_t>(y.elements()));
    worker_ = std::thread([this, y] {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      rogue::multiply(x_.data(), w_.data(), y_.data(), p_, p_.K);
      copy_unseen(y_.data(), y.as<float>(), y.elements());
    });
  }

 private:
  std::vector<float> x_;
  std::vector<float> y_;
  std::thread worker_;
};

const Registration registration{
    rogue::variant<Rogue>("works_later", "the work is done by a thread after run has returned")};

}  // namespace
}  // namespace pareto
