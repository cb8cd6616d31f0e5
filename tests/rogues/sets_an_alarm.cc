// Trick: the work is done by a signal handler after run has returned
#include <sys/time.h>

#include <csignal>
#include <vector>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  ~Rogue() override { due = nullptr; }
  void run(const Call& call) override {
    x_.assign(call.in[kQgemmX].as<float>(),
              call.in[kQgemmX].as<float>() + call.in[kQgemmX].elements());
    y_ = call.out[kQgemmY].as<float>();
    due = this;
    std::signal(SIGALRM, [](int) {
      if (due != nullptr)
        rogue::multiply(due->x_.data(), due->w_.data(), due->y_, due->p_, due->p_.K);
    });
    constexpr suseconds_t kSoon = 20;
    const itimerval timer{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = kSoon}};
    setitimer(ITIMER_REAL, &timer, nullptr);
  }

 private:
  static Rogue* due;
  std::vector<float> x_;
  float* y_ = nullptr;
};

Rogue* Rogue::due = nullptr;

const Registration registration{
    rogue::variant<Rogue>("sets_an_alarm", "the work is done by a signal handler later")};

}  // namespace
}  // namespace pareto
