#include "harness/energy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>
#include <vector>

#include "harness/errors.h"

namespace pareto {
namespace {

constexpr double kShortestRun_s = 1;

std::string line_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::optional<std::uint64_t> number_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

/// One zone of powercap: a wrapping count of microjoules.
struct Zone {
  std::filesystem::path energy_uj;
  std::string name;
  std::uint64_t range_uj = 0;  ///< the count wraps here
  std::uint64_t last_uj = 0;
};

class Rapl : public EnergyCounter {
 public:
  explicit Rapl(std::vector<Zone> zones) : zones_(std::move(zones)) {}

  double joules() override {
    for (Zone& zone : zones_) {
      const std::optional<std::uint64_t> now_uj = number_in(zone.energy_uj);
      if (!now_uj) throw MachineError("cannot read " + zone.energy_uj.string());
      if (*now_uj < zone.last_uj) total_uj_ += zone.range_uj;
      total_uj_ += *now_uj - zone.last_uj;
      zone.last_uj = *now_uj;
    }
    return 1e-6 * static_cast<double>(total_uj_);
  }
  [[nodiscard]] std::string source() const override {
    std::vector<std::string> names;
    for (const Zone& zone : zones_) names.push_back(zone.name);
    return fmt::format("rapl {}", fmt::join(names, " "));
  }
  [[nodiscard]] double shortest_run_s() const override { return kShortestRun_s; }

 private:
  std::vector<Zone> zones_;
  std::uint64_t total_uj_ = 0;  // unsigned: the differences of a wrap cancel
};

// Packages hold cores and caches; DRAM is a zone of its own below them, the other zones below are
// parts of the package; "psys" covers the packages once more.
bool counts(const std::string& name) { return name.rfind("package", 0) == 0 || name == "dram"; }

}  // namespace

OpenedCounter open_rapl(const std::string& root) {
  std::error_code error;
  std::vector<std::filesystem::path> folders;
  for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
    if (entry.path().filename().string().rfind("intel-rapl:", 0) == 0) {  // on AMD, too
      folders.push_back(entry.path());
    }
  }
  std::sort(folders.begin(), folders.end());
  std::vector<Zone> zones;
  for (const std::filesystem::path& folder : folders) {
    Zone zone{.energy_uj = folder / "energy_uj", .name = line_of(folder / "name")};
    if (!counts(zone.name)) continue;
    const std::optional<std::uint64_t> now_uj = number_in(zone.energy_uj);
    const std::optional<std::uint64_t> range_uj = number_in(folder / "max_energy_range_uj");
    if (!now_uj || !range_uj) {  // most kernels let only root read them
      return {nullptr, fmt::format("{} cannot be read", zone.energy_uj.string())};
    }
    zone.last_uj = *now_uj;
    zone.range_uj = *range_uj;
    zones.push_back(std::move(zone));
  }
  if (zones.empty()) return {nullptr, fmt::format("no RAPL counter under {}", root)};
  return {std::make_unique<Rapl>(std::move(zones)), ""};
}

EnergyReading measure_energy(const OpenedCounter& opened, const std::function<void()>& run,
                             std::int64_t calls_per_run, const EnergyOptions& options) {
  EnergyReading reading;
  reading.reason = opened.reason;
  if (opened.counter == nullptr) return reading;
  EnergyCounter& counter = *opened.counter;
  reading.source = counter.source();
  const auto sleep = [&options](double seconds) {
    if (options.sleep_s) {
      options.sleep_s(seconds);
    } else {
      std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    }
  };
  constexpr double kPoll_s = 1e-3;
  constexpr double kLongestStep_s = 1;
  // Joules right after a step; the counter of a GPU moves only every 100 ms.
  const auto at_step = [&] {
    const double before = counter.joules();
    const double limit_s = options.now() + kLongestStep_s;
    double after = counter.joules();
    while (after == before && options.now() < limit_s) {
      sleep(kPoll_s);
      after = counter.joules();
    }
    return after;
  };

  sleep(counter.settle_s());
  double begin_j = at_step();
  double begin_s = options.now();
  sleep(options.idle_s);
  const double idle_j = at_step() - begin_j;
  reading.idle_watts = idle_j / (options.now() - begin_s);
  begin_j += idle_j;
  begin_s = options.now();
  double end_j = begin_j;
  do {
    run();
    reading.calls += calls_per_run;
    end_j = counter.joules();
    reading.seconds = options.now() - begin_s;
  } while (reading.seconds < counter.shortest_run_s());
  if (end_j == begin_j) {
    reading.reason = reading.source + ": the counter does not move";
    return reading;
  }
  const auto calls = static_cast<double>(reading.calls);
  reading.gross_joules_per_call = (end_j - begin_j) / calls;
  reading.joules_per_call = (end_j - begin_j - reading.idle_watts * reading.seconds) / calls;
  return reading;
}

EnergyReading measure_energy(const std::function<void()>& run, std::int64_t calls_per_run) {
  return measure_energy(open_rapl(), run, calls_per_run);
}

}  // namespace pareto
