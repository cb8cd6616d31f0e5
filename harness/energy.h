// Energy of a call, from the counters of the CPU (RAPL through powercap) or of a GPU (NVML). Where
// there is no counter the answer is NaN with the reason, never an estimate.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>

#include "harness/clock.h"

namespace pareto {

/// A counter of joules that only grows.
class EnergyCounter {
 public:
  virtual ~EnergyCounter() = default;
  /// Joules since the counter was opened; to be read often enough that it wraps at most once
  /// between two readings. MachineError if it can no longer be read.
  virtual double joules() = 0;
  /// "rapl package-0 dram", "nvml GPU-…".
  [[nodiscard]] virtual std::string source() const = 0;
  /// Shortest run that the counter resolves.
  [[nodiscard]] virtual double shortest_run_s() const = 0;
  /// Rest before the idle power is read: until what ran before no longer shows.
  [[nodiscard]] virtual double settle_s() const { return 0; }
};

/// A counter, or why there is none.
struct OpenedCounter {
  std::unique_ptr<EnergyCounter> counter;
  std::string reason;
};

/// All packages and their DRAM under `root`.
OpenedCounter open_rapl(const std::string& root = "/sys/class/powercap");

/// The GPU with this UUID ("GPU-…"), through the NVML `library` of the driver, loaded at run time.
OpenedCounter open_nvml(const std::string& uuid, const std::string& library = "libnvidia-ml.so.1");

struct EnergyReading {
  double joules_per_call = std::numeric_limits<double>::quiet_NaN();  ///< idle power subtracted
  double gross_joules_per_call = std::numeric_limits<double>::quiet_NaN();
  double idle_watts = std::numeric_limits<double>::quiet_NaN();
  double seconds = 0;  ///< of the run
  std::int64_t calls = 0;
  std::string source;
  std::string reason;  ///< why there is no number; empty if there is one
};

struct EnergyOptions {
  double idle_s = 0.5;  ///< idle power is measured for as long, beforehand
  std::function<double()> now = now_s;
  std::function<void(double)> sleep_s;  ///< empty: the thread sleeps
};

/// Calls `run`, which makes `calls_per_run` calls, over and over for at least 1 s (5 s on a GPU),
/// starting just after a step of the counter. Exceptions of `run` pass through.
EnergyReading measure_energy(const OpenedCounter& opened, const std::function<void()>& run,
                             std::int64_t calls_per_run, const EnergyOptions& options = {});

/// With the CPU's counters.
EnergyReading measure_energy(const std::function<void()>& run, std::int64_t calls_per_run);

}  // namespace pareto
