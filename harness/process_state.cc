#include "harness/process_state.h"

#include <sys/resource.h>

#include "harness/thread_watch.h"

namespace pareto {

ProcessState::Thread ProcessState::state_of(int id) {
  Thread thread;
  thread.id = id;
  CPU_ZERO(&thread.processors);
  sched_getaffinity(id, sizeof(thread.processors), &thread.processors);
  thread.policy = sched_getscheduler(id);
  thread.nice = getpriority(PRIO_PROCESS, static_cast<id_t>(id));
  return thread;
}

ProcessState::ProcessState() {
  for (const int id : thread_ids()) threads_.push_back(state_of(id));
  for (std::size_t i = 0; i < kFaults.size(); ++i) sigaction(kFaults[i], nullptr, &handlers_[i]);
}

std::string ProcessState::restore() const {
  std::string text;
  const auto say = [&](const char* what) {
    if (text.find(what) == std::string::npos)
      text += (text.empty() ? "" : ", ") + std::string(what);
  };
  for (const Thread& before : threads_) {
    const Thread now = state_of(before.id);
    if (now.policy < 0) continue;  // the thread has ended
    if (CPU_EQUAL(&now.processors, &before.processors) == 0) {
      say("a thread was moved to other processors");
      sched_setaffinity(before.id, sizeof(before.processors), &before.processors);
    }
    if (now.policy != before.policy || now.nice != before.nice) {
      say("a thread's priority was changed");
      const sched_param param{};
      if (now.policy != before.policy) sched_setscheduler(before.id, before.policy, &param);
      setpriority(PRIO_PROCESS, static_cast<id_t>(before.id), before.nice);
    }
  }
  for (std::size_t i = 0; i < kFaults.size(); ++i) {
    struct sigaction now {};
    sigaction(kFaults[i], nullptr, &now);
    if (now.sa_sigaction == handlers_[i].sa_sigaction) continue;
    say("the handler of faults was replaced");
    sigaction(kFaults[i], &handlers_[i], nullptr);
  }
  return text;
}

}  // namespace pareto
