#include "harness/occupancy.h"

#include <array>
#include <limits>
#include <map>
#include <utility>

namespace pareto {
namespace {

constexpr int kWarp = 32;
constexpr int kPartitions = 4;             // of a multiprocessor, each with its own registers
constexpr int kRegisterGranularity = 256;  // of a warp
constexpr int kSharedGranularity = 128;
constexpr int kReservedSharedBytes = 1024;  // of every block, for the system
constexpr int kUnlimited = std::numeric_limits<int>::max();

constexpr int round_up(int value, int step) { return (value + step - 1) / step * step; }

int blocks_by_registers(const MultiprocessorLimits& limits, const BlockNeeds& needs, int warps) {
  if (needs.registers == 0) return kUnlimited;
  const int of_warp = round_up(needs.registers * kWarp, kRegisterGranularity);
  // The hardware reckons as if a block's warps were spread over all partitions.
  const bool fits = of_warp * round_up(warps, kPartitions) <= limits.registers;
  if (!fits || needs.registers > limits.registers_per_thread) return 0;
  return limits.registers / kPartitions / of_warp * kPartitions / warps;
}

int blocks_by_shared(const MultiprocessorLimits& limits, const BlockNeeds& needs) {
  if (needs.shared_bytes > limits.shared_bytes_per_block) return 0;
  return limits.shared_bytes /
         round_up(needs.shared_bytes + kReservedSharedBytes, kSharedGranularity);
}

// In a function: registrations run before this file's own static objects.
std::map<std::pair<std::string, std::string>, KernelLaunch>& launches() {
  static std::map<std::pair<std::string, std::string>, KernelLaunch> instance;
  return instance;
}

}  // namespace

LaunchesKernel::LaunchesKernel(const std::string& variant, const std::string& kernel,
                               const KernelLaunch& launch) {
  launches()[{variant, kernel}] = launch;
}

KernelLaunch kernel_launch_of(const std::string& variant, const std::string& kernel) {
  const auto said = launches().find({variant, kernel});
  return said == launches().end() ? KernelLaunch{} : said->second;
}

const MultiprocessorLimits* multiprocessor_limits(std::string_view arch) {
  constexpr int kKib = 1024;
  static constexpr MultiprocessorLimits kAmpere{.shared_bytes = 164 * kKib,
                                                .shared_bytes_per_block = 163 * kKib};
  static constexpr MultiprocessorLimits kHopper{.shared_bytes = 228 * kKib,
                                                .shared_bytes_per_block = 227 * kKib};
  if (arch == "sm_80") return &kAmpere;
  if (arch == "sm_90" || arch == "sm_90a") return &kHopper;
  return nullptr;
}

Occupancy occupancy(const MultiprocessorLimits& limits, const BlockNeeds& needs) {
  const int warps = (needs.threads + kWarp - 1) / kWarp;
  const std::array<std::pair<std::string_view, int>, 4> bounds = {
      {{"warps", limits.warps / warps},
       {"blocks", limits.blocks},
       {"registers", blocks_by_registers(limits, needs, warps)},
       {"shared memory", blocks_by_shared(limits, needs)}}};
  Occupancy least{.blocks = kUnlimited};
  for (const auto& [name, blocks] : bounds) {
    if (blocks < least.blocks) least = {.blocks = blocks, .limited_by = name};
  }
  least.warps = least.blocks * warps;
  return least;
}

}  // namespace pareto
