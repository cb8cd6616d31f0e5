#include "harness/thread_watch.h"

#include <dirent.h>
#include <fmt/format.h>
#include <unistd.h>
#include <xmmintrin.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <memory>
#include <thread>

#include "harness/clock.h"

namespace pareto {
namespace {

// MXCSR: bits 0–5 are sticky flags, which arithmetic sets; the others are modes.
constexpr std::uint32_t kFlushToZero = 1U << 15;
constexpr std::uint32_t kDenormalsAreZero = 1U << 6;
constexpr std::uint32_t kRounding = 3U << 13;
constexpr std::uint32_t kExceptionMasks = 0x3FU << 7;
constexpr std::uint32_t kMxcsrModes =
    kFlushToZero | kDenormalsAreZero | kRounding | kExceptionMasks;
constexpr int kX87Shift = 16;
constexpr std::uint32_t kX87Modes = 0x0F3FU;  // masks, precision, rounding

// A joined thread may stay listed for a moment after pthread_join has returned.
constexpr std::chrono::milliseconds kGrace{20};

// Of a thread that has ended: it does not run.
bool runs(int id) {
  std::ifstream file(fmt::format("/proc/self/task/{}/stat", id));
  std::string line;
  std::getline(file, line);
  const std::size_t name_end = line.rfind(") ");  // the name may hold anything
  return name_end != std::string::npos && line[name_end + 2] == 'R';
}

std::vector<int> new_ids(const std::vector<int>& before) {
  const std::vector<int> now = thread_ids();
  std::vector<int> fresh;
  std::set_difference(now.begin(), now.end(), before.begin(), before.end(),
                      std::back_inserter(fresh));
  return fresh;
}

// Processor time of one thread of this process; the kernel's own coding of such a clock.
clockid_t clock_of_thread(int id) {
  constexpr unsigned kPerThreadSched = 6;
  return static_cast<clockid_t>(~static_cast<unsigned>(id) << 3U | kPerThreadSched);
}

double seconds_of(clockid_t clock) {
  timespec time{};
  if (clock_gettime(clock, &time) != 0) return 0;  // the thread has ended
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

std::vector<int> thread_ids() {
  std::vector<int> ids;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc/self/task"), closedir);
  if (folder == nullptr) return ids;
  while (const dirent* entry = readdir(folder.get())) {
    int id = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, id).ec == std::errc{}) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

std::uint32_t fp_modes() {
  std::uint16_t x87 = 0;
  asm volatile("fnstcw %0" : "=m"(x87));
  return (_mm_getcsr() & kMxcsrModes) | (x87 & kX87Modes) << kX87Shift;
}

void set_fp_modes(std::uint32_t modes) {
  _mm_setcsr((_mm_getcsr() & ~kMxcsrModes) | (modes & kMxcsrModes));
  std::uint16_t x87 = 0;
  asm volatile("fnstcw %0" : "=m"(x87));
  x87 = static_cast<std::uint16_t>((x87 & ~kX87Modes) | (modes >> kX87Shift & kX87Modes));
  asm volatile("fldcw %0" : : "m"(x87));
}

std::string fp_modes_difference(std::uint32_t before, std::uint32_t after) {
  const std::uint32_t changed = before ^ after;
  std::string text;
  const auto say = [&](std::uint32_t bits, std::string_view what) {
    if ((changed & bits) == 0) return;
    text += (text.empty() ? "" : ", ") + std::string(what);
  };
  say(kFlushToZero, "flush-to-zero left changed");
  say(kDenormalsAreZero, "denormals-are-zero left changed");
  say(kRounding, "rounding mode left changed");
  say(kExceptionMasks, "exception masks left changed");
  say(kX87Modes << kX87Shift, "x87 control word left changed");
  return text;
}

std::string restore_fp_modes(ThreadPool& pool, std::uint32_t wanted) {
  std::vector<std::uint32_t> found(static_cast<std::size_t>(pool.size()));
  pool.run([&](int thread, int) {
    found[static_cast<std::size_t>(thread)] = fp_modes();
    set_fp_modes(wanted);
  });
  for (std::size_t thread = 0; thread < found.size(); ++thread) {
    const std::string difference = fp_modes_difference(wanted, found[thread]);
    if (!difference.empty()) return fmt::format("{} on thread {}", difference, thread);
  }
  return "";
}

bool wait_until_others_sleep(double at_most_s) {
  constexpr std::chrono::microseconds kPause{50};
  const double begin_s = now_s();
  std::vector<int> awake = thread_ids();
  std::erase(awake, gettid());
  while (true) {
    std::erase_if(awake, [](int id) { return !runs(id); });
    if (awake.empty()) return true;
    if (now_s() - begin_s > at_most_s) return false;
    std::this_thread::sleep_for(kPause);
  }
}

ThreadWatch::ThreadWatch() : before_(thread_ids()) {}

std::string ThreadWatch::still_running() const {
  const auto deadline = std::chrono::steady_clock::now() + kGrace;
  std::vector<int> fresh = new_ids(before_);
  while (!fresh.empty() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    fresh = new_ids(before_);
  }
  if (fresh.empty()) return "";
  std::ifstream file(fmt::format("/proc/self/task/{}/comm", fresh.front()));
  std::string name;
  std::getline(file, name);
  return fmt::format("{} thread{} still running after the call (the first is '{}')", fresh.size(),
                     fresh.size() == 1 ? "" : "s", name);
}

// Threads first, the process last, and the other way round at the end: what is used in between
// counts for the threads, so that the difference is never too large.
ProcessorWatch::ProcessorWatch() {
  for (const int id : thread_ids()) threads_.push_back({id, 0});
  for (Thread& thread : threads_) thread.used_s = seconds_of(clock_of_thread(thread.id));
  process_s_ = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

ProcessorWatch::Use ProcessorWatch::since() const {
  const double all = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - process_s_;
  double hidden = all;
  for (const Thread& thread : threads_) {
    hidden -= std::max(0.0, seconds_of(clock_of_thread(thread.id)) - thread.used_s);
  }
  return {all, hidden};
}

}  // namespace pareto
