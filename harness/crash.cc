#include "harness/crash.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "harness/confinement.h"
#include "harness/guarded_buffer.h"

namespace pareto {
namespace {

using Clock = std::chrono::steady_clock;

// Frames on the pipe: a tag, then text up to the end of the stream.
constexpr char kValueTag = 'V';
constexpr char kErrorTag = 'E';  // followed by one digit, the exit code
constexpr char kFaultTag = 'F';
constexpr int kFaultStatus = static_cast<int>(ExitCode::kMachineFailed);

std::atomic<int> fault_fd{-1};
ino_t fault_pipe = 0;
std::array<char, 256> fault_context{};
std::atomic_flag fault_reported = ATOMIC_FLAG_INIT;

void write_all(int fd, const char* data, std::size_t size) noexcept {
  while (size > 0) {
    const ssize_t written = ::write(fd, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    data += written;
    size -= static_cast<std::size_t>(written);
  }
}

void write_text(int fd, const char* text) noexcept { write_all(fd, text, std::strlen(text)); }

const char* name_of_signal(int signal) noexcept {
  switch (signal) {
    case SIGSEGV:
      return "SIGSEGV";
    case SIGBUS:
      return "SIGBUS";
    case SIGILL:
      return "SIGILL";
    case SIGFPE:
      return "SIGFPE";
    case SIGABRT:
      return "SIGABRT";
    case SIGSYS:
      return "SIGSYS";
    default:
      return "signal";
  }
}

const char* meaning_of(int signal, const siginfo_t* info) noexcept {
  if (signal == SIGILL) return ": an instruction that this processor does not have";
  if (signal == SIGFPE)
    return ": an integer division by zero or a trapped floating-point exception";
  if (signal == SIGABRT) return ": aborted (a failed assertion, or an exception on another thread)";
  if (signal == SIGSYS) return ": the kernel tried what none may do: it ";
  if (info->si_code == SI_KERNEL) {
    return ": an aligned access to memory that is aligned to its element only, or a wild pointer";
  }
  return ": access to memory that belongs to no operand";
}

void on_fault(int signal, siginfo_t* info, void* context) {
  const int fd = fault_fd.load();
  if (fault_reported.test_and_set()) {
    for (;;) pause();  // another thread is reporting and will end the process
  }
  std::array<char, 256> text{};
  if (signal == SIGSEGV || signal == SIGBUS) {
    constexpr greg_t kWriteBit = 2;  // of the page fault's error code
    const auto* user = static_cast<const ucontext_t*>(context);
    const bool write = (user->uc_mcontext.gregs[REG_ERR] & kWriteBit) != 0;
    describe_fault(info->si_addr, write, text.data(), text.size());
  }
  write_all(fd, &kFaultTag, 1);
  write_text(fd, fault_context.data());
  if (text[0] != '\0') {
    write_text(fd, text.data());
  } else {
    write_text(fd, name_of_signal(signal));
    write_text(fd, meaning_of(signal, info));
    if (signal == SIGSYS) write_text(fd, meaning_of_call(info->si_syscall));
  }
  _exit(kFaultStatus);
}

[[noreturn]] void run_child(const std::function<std::string()>& body, int fd, pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kFaultStatus);  // the parent died before the line above
  dup2(STDERR_FILENO, STDOUT_FILENO);  // what a kernel prints must not mix with our tables
  report_faults_to(fd);
  std::string frame;
  try {
    frame = kValueTag + body();
  } catch (const Error& error) {
    frame = fmt::format("{}{}{}", kErrorTag, static_cast<int>(error.code()), error.what());
  } catch (const std::bad_alloc&) {
    frame = fmt::format("{}{}out of memory", kErrorTag, static_cast<int>(ExitCode::kMachineFailed));
  } catch (const std::exception& error) {
    frame =
        fmt::format("{}{}{}", kErrorTag, static_cast<int>(ExitCode::kCheckFailed), error.what());
  } catch (...) {
    frame = fmt::format("{}{}an exception of unknown type", kErrorTag,
                        static_cast<int>(ExitCode::kCheckFailed));
  }
  std::fflush(nullptr);
  write_all(fd, frame.data(), frame.size());
  _exit(0);
}

/// Appends what can be read at once; false at the end of the stream.
bool drain(int fd, std::string& bytes) {
  std::array<char, 65536> chunk{};
  for (;;) {
    const ssize_t count = ::read(fd, chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return true;  // nothing more for the moment
    if (count == 0) return false;
    bytes.append(chunk.data(), static_cast<std::size_t>(count));
  }
}

/// Reads until the child closes its end or ends (a process that it started may hold the pipe open
/// for longer); false when the time is over first.
bool read_until_end(pid_t child, int fd, double timeout_s, std::string& bytes) {
  constexpr double kNoLimitStep_s = 3600;
  const auto deadline = Clock::now() + std::chrono::duration<double>(timeout_s);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  const int process = static_cast<int>(syscall(SYS_pidfd_open, child, 0));  // −1 is ignored by poll
  bool in_time = true;
  bool open = true;
  while (open && in_time) {
    const double left_s = timeout_s > 0
                              ? std::chrono::duration<double>(deadline - Clock::now()).count()
                              : kNoLimitStep_s;
    std::array<pollfd, 2> watched{{{fd, POLLIN, 0}, {process, POLLIN, 0}}};
    const double wait_ms = 1000 * std::clamp(left_s, 0.0, kNoLimitStep_s);
    poll(watched.data(), watched.size(), static_cast<int>(std::ceil(wait_ms)));
    open = drain(fd, bytes) && (watched[1].revents & POLLIN) == 0;
    in_time = timeout_s <= 0 || Clock::now() < deadline;
  }
  if (process >= 0) close(process);
  if (!open) drain(fd, bytes);
  return !open;
}

std::string describe_status(int status) {
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) {
    return "SIGSYS: the kernel tried what none may do, with its signals blocked";
  }
  if (WIFSIGNALED(status)) {
    return fmt::format("killed by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  }
  return fmt::format("exited early with status {}", WEXITSTATUS(status));
}

ChildResult interpret(const std::string& bytes, int status) {
  ChildResult result;
  const bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!bytes.empty() && bytes[0] == kValueTag && clean) {
    result.value = bytes.substr(1);
    return result;
  }
  if (bytes.size() >= 2 && bytes[0] == kErrorTag && clean) {
    result.end = ChildEnd::kError;
    result.code = static_cast<ExitCode>(bytes[1] - '0');
    result.message = bytes.substr(2);
    return result;
  }
  result.end = ChildEnd::kFault;
  result.code = ExitCode::kMachineFailed;
  const bool told = bytes.size() > 1 && bytes[0] == kFaultTag;
  result.message = told ? bytes.substr(1) : describe_status(status);
  return result;
}

int wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

void report_faults_to(int fd) {
  fault_fd = fd;
  struct stat pipe {};
  fault_pipe = fstat(fd, &pipe) == 0 ? pipe.st_ino : 0;
  fault_reported.clear();
  // A stack overflow leaves no room for the handler on the ordinary stack.
  static std::array<std::byte, 65536> stack;
  stack_t alternative{};
  alternative.ss_sp = stack.data();
  alternative.ss_size = stack.size();
  sigaltstack(&alternative, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS}) {
    sigaction(signal, &action, nullptr);
  }
}

void end_as_crashed(const std::string& text) noexcept {
  const int fd = fault_fd.load();
  if (fd < 0 || fault_reported.test_and_set()) return;
  write_all(fd, &kFaultTag, 1);
  write_text(fd, fault_context.data());
  write_text(fd, text.c_str());
  _exit(kFaultStatus);
}

void end_as_fault(const std::string& message) {
  end_as_crashed(message);
  throw Error(ExitCode::kCheckFailed, message);
}

bool can_report() {
  struct stat now {};
  const int fd = fault_fd.load();
  return fd < 0 || (fstat(fd, &now) == 0 && now.st_ino == fault_pipe);
}

void set_fault_context(const std::string& context) {
  const std::size_t length = std::min(context.size(), fault_context.size() - 1);
  std::memcpy(fault_context.data(), context.data(), length);
  fault_context[length] = '\0';
}

ChildResult run_isolated(const std::function<std::string()>& body, double timeout_s) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw MachineError(fmt::format("cannot open a pipe: {}", std::strerror(errno)));
  }
  std::fflush(nullptr);  // else the child would print the parent's pending output again
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) {
    const int reason = errno;
    close(ends[0]);
    close(ends[1]);
    throw MachineError(fmt::format("cannot start a process: {}", std::strerror(reason)));
  }
  if (child == 0) {
    close(ends[0]);
    run_child(body, ends[1], parent);
  }
  setpgid(child, child);  // also here, so that a kill right away finds the group
  close(ends[1]);
  std::string bytes;
  const bool finished = read_until_end(child, ends[0], timeout_s, bytes);
  close(ends[0]);
  ChildResult result;
  if (finished) {
    // The group may outlive its leader: whatever the child started ends with it. The leader stays
    // a zombie until after the kill, so its number cannot have been given to somebody else.
    siginfo_t info{};
    while (waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT) < 0 &&
           errno == EINTR) {
    }
    kill(-child, SIGKILL);
    result = interpret(bytes, wait_for(child));
  } else {
    kill(-child, SIGKILL);
    wait_for(child);
    result.end = ChildEnd::kTimeout;
    result.code = ExitCode::kMachineFailed;
    result.message = fmt::format("did not finish within {:g} s and was killed", timeout_s);
  }
  return result;
}

}  // namespace pareto
