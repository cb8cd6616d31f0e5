#include "harness/confinement.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pareto {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

struct Forbidden {
  int call;
  const char* meaning;
};
constexpr std::array kForbidden = {Forbidden{SYS_fork, "started a process"},
                                   Forbidden{SYS_vfork, "started a process"},
                                   Forbidden{SYS_clone, "started a process"},
                                   Forbidden{SYS_execve, "became another program"},
                                   Forbidden{SYS_execveat, "became another program"},
                                   Forbidden{SYS_kill, "sent a signal to a process"},
                                   Forbidden{SYS_tkill, "sent a signal to a process"},
                                   Forbidden{SYS_rt_sigqueueinfo, "sent a signal to a process"},
                                   Forbidden{SYS_pidfd_send_signal, "sent a signal to a process"},
                                   Forbidden{SYS_setpgid, "left its process group"},
                                   Forbidden{SYS_setsid, "left its process group"},
                                   Forbidden{SYS_setitimer, "set a timer"},
                                   Forbidden{SYS_alarm, "set a timer"},
                                   Forbidden{SYS_timer_create, "set a timer"},
                                   Forbidden{SYS_ptrace, "traced a process"},
                                   Forbidden{SYS_process_vm_writev, "wrote to a process's memory"}};

constexpr sock_filter load(std::size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}
constexpr sock_filter answer(std::uint32_t action) { return BPF_STMT(BPF_RET | BPF_K, action); }
/// Skips `skipped` instructions unless what was loaded equals `value`.
constexpr sock_filter unless(std::uint32_t value, std::uint8_t skipped) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skipped);
}

/// Allowed if the first argument passes `test`, which skips one instruction then.
std::array<sock_filter, 5> only_if(std::uint32_t call, sock_filter test) {
  return {unless(call, 4), load(offsetof(seccomp_data, args)), test, answer(SECCOMP_RET_TRAP),
          answer(SECCOMP_RET_ALLOW)};
}

std::vector<sock_filter> filter() {
  constexpr std::uint32_t kOtherInterfaces = 0x40000000;  // x32's calls
  std::vector<sock_filter> program = {
      load(offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0), answer(SECCOMP_RET_TRAP),
      load(offsetof(seccomp_data, nr)), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kOtherInterfaces, 0, 1),
      answer(SECCOMP_RET_TRAP),
      // The flags of clone3 lie in memory; without it the C library falls back to clone.
      unless(SYS_clone3, 1), answer(SECCOMP_RET_ERRNO | ENOSYS)};
  const auto thread = only_if(SYS_clone, BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0));
  program.insert(program.end(), thread.begin(), thread.end());
  const auto self = static_cast<std::uint32_t>(getpid());  // abort() signals its own thread
  const auto own = only_if(SYS_tgkill, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, self, 1, 0));
  program.insert(program.end(), own.begin(), own.end());
  for (const Forbidden& forbidden : kForbidden) {
    program.push_back(unless(static_cast<std::uint32_t>(forbidden.call), 1));
    program.push_back(answer(SECCOMP_RET_TRAP));
  }
  program.push_back(answer(SECCOMP_RET_ALLOW));
  return program;
}

}  // namespace

void confine_process() {
  if (kSanitized) return;
  std::vector<sock_filter> program = filter();
  const sock_fprog all{.len = static_cast<std::uint16_t>(program.size()), .filter = program.data()};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all);  // threads made later inherit it
}

const char* meaning_of_call(int call) noexcept {
  if (call == SYS_tgkill) call = SYS_kill;
  for (const Forbidden& forbidden : kForbidden) {
    if (forbidden.call == call) return forbidden.meaning;
  }
  return "made a system call that is not allowed";
}

}  // namespace pareto
