// Times back-to-back calls where they run: on the host by its clock, on a device by events.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace pareto {

class CallTimer {
 public:
  virtual ~CallTimer() = default;
  /// Seconds that `calls` take. A sample that somebody disturbed is taken again, so `calls` may be
  /// asked for more than once. On a device it only records; `recorded` is called between recording
  /// and running (and not at all on the host), and told whether nothing was recorded.
  virtual double time(const std::function<void()>& calls,
                      const std::function<void(bool empty)>& recorded) = 0;
  /// What runs `calls` again and again with nothing in between, and how often at once.
  struct Repeated {
    std::function<void()> run;
    int times = 1;
  };
  [[nodiscard]] virtual Repeated repeated(const std::function<void()>& calls) const = 0;
  /// Samples must last at least as long.
  [[nodiscard]] virtual double shortest_sample_s() const { return 0; }
  /// "" or what is wrong with the calls, by the name of the trick.
  [[nodiscard]] virtual std::string failure() const { return ""; }
  /// Samples that were taken again because the clock had fallen.
  [[nodiscard]] virtual std::int64_t throttled() const { return 0; }
  /// Median over the samples; NaN: the host's, which the sampler reads.
  [[nodiscard]] virtual double clock_hz() const;
};

std::unique_ptr<CallTimer> host_timer();
std::unique_ptr<CallTimer> device_timer();

}  // namespace pareto
