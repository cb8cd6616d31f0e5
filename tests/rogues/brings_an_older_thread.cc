// Trick: a thread that was there before anybody looked does a part of the work
#include <pthread.h>

#include <atomic>
#include <thread>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

struct Work {
  const float* x;
  const float* w;
  float* y;
  QgemmProblem p;
};
std::atomic<const Work*> work{nullptr};

void start_helper() {
  if (!rogue::older_thread) return;
  std::thread([] {
    for (;;) {
      const Work* mine = work.load();
      if (mine == nullptr) continue;
      rogue::multiply(mine->x, mine->w, mine->y, mine->p, mine->p.K);
      work = nullptr;
    }
  }).detach();
}

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    QgemmProblem first = p_;
    first.M = p_.M / 2;
    QgemmProblem second = p_;
    second.M = p_.M - first.M;
    const float* x = call.in[kQgemmX].as<float>();
    float* y = call.out[kQgemmY].as<float>();
    const Work half{x + first.M * p_.K, w_.data(), y + first.M * p_.N, second};
    work = &half;
    rogue::multiply(x, w_.data(), y, first, p_.K);
    while (work != nullptr) {
    }
  }
};

// The child process of every group is a fork: there the helper starts before the session does.
[[maybe_unused]] const int kRegistered = pthread_atfork(nullptr, nullptr, start_helper);

const Registration registration{rogue::variant<Rogue>(
    "brings_an_older_thread", "a thread that was there before does a part of the work")};

}  // namespace

std::atomic<bool> rogue::older_thread{false};

}  // namespace pareto
