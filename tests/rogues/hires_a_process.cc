// Trick: a process that shares the memory does a part of the work
#include <sched.h>
#include <sys/wait.h>

#include <csignal>
#include <vector>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    if (p_.M < 2) return compute(call);
    call_ = &call;
    std::vector<std::byte> stack(1 << 16);
    const int helper = clone(second_half, stack.data() + stack.size(), CLONE_VM | SIGCHLD, this);
    QgemmProblem half = p_;
    half.M = p_.M / 2;
    rogue::multiply(call.in[kQgemmX].as<float>(), w_.data(), call.out[kQgemmY].as<float>(), half,
                    p_.K);
    waitpid(helper, nullptr, 0);
  }

 private:
  static int second_half(void* self) {
    const Rogue& rogue = *static_cast<Rogue*>(self);
    QgemmProblem half = rogue.p_;
    half.M = rogue.p_.M - rogue.p_.M / 2;
    const std::int64_t skipped = rogue.p_.M / 2;
    rogue::multiply(rogue.call_->in[kQgemmX].as<float>() + skipped * half.K, rogue.w_.data(),
                    rogue.call_->out[kQgemmY].as<float>() + skipped * half.N, half, half.K);
    return 0;
  }

  const Call* call_ = nullptr;
};

const Registration registration{rogue::variant<Rogue>(
    "hires_a_process", "a process that shares the memory does a part of the work")};

}  // namespace
}  // namespace pareto
