// Pinned threads that kernels share; the calling thread is member 0.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace pareto {

/// Name of every pool's workers, as the kernel shows it; the others are somebody else's threads.
inline constexpr const char* kPoolThreadName = "pareto-worker";

/// A fixed team. Workers spin briefly after each task and then sleep, so that an idle pool does
/// not disturb whoever is measured next.
class ThreadPool {
 public:
  /// Pins member i to cpus[i]; an empty list pins nobody (`threads` members then).
  explicit ThreadPool(int threads, std::span<const int> cpus = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int size() const { return threads_; }

  /// Calls body(thread, threads) once on every member and returns when all have finished. `body`
  /// must not throw.
  template <typename Body>
  void run(Body&& body) {
    if (threads_ == 1) {
      body(0, 1);
      return;
    }
    using Pointer = std::remove_reference_t<Body>*;
    run_erased([](void* context, int thread,
                  int threads) { (*static_cast<Pointer>(context))(thread, threads); },
               const_cast<void*>(static_cast<const void*>(std::addressof(body))));
  }

 private:
  using Entry = void (*)(void* context, int thread, int threads);
  void run_erased(Entry entry, void* context);
  struct State;
  int threads_;
  std::unique_ptr<State> state_;
};

/// The part [begin, end) of `count` items that member `thread` of `threads` owns, in multiples of
/// `grain` (but for the last).
inline std::pair<std::int64_t, std::int64_t> share_of(std::int64_t count, int thread, int threads,
                                                      std::int64_t grain = 1) {
  const std::int64_t grains = (count + grain - 1) / grain;
  const std::int64_t begin = grains * thread / threads * grain;
  const std::int64_t end = grains * (thread + 1) / threads * grain;
  return {begin < count ? begin : count, end < count ? end : count};
}

}  // namespace pareto
