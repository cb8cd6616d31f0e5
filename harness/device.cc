#include "harness/device.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "build_info.h"
#include "harness/crash.h"
#include "harness/errors.h"
#include "harness/variant.h"

namespace pareto {
namespace {

// Starting a driver that has to load its modules takes seconds, a hung one forever.
constexpr double kProbeTimeoutS = 60;
constexpr int kNewestCapability = 90;

// Never destroyed: what it would tear down, the end of the process does.
Device*& current() {
  static Device* device = nullptr;
  return device;
}

DeviceInfo without_device(const std::string& reason) {
  DeviceInfo info;
  info.reason = reason;
  return info;
}

DeviceInfo ask_child() {
  if (build_info::kCuda == "none") return without_device("built without CUDA");
  // Without the driver's node nothing needs to be started to know.
  if (!std::filesystem::exists("/dev/nvidiactl")) return without_device("no CUDA device");
  const ChildResult child =
      run_isolated([] { return probe_device().to_json().dump(); }, kProbeTimeoutS);
  if (child.end != ChildEnd::kReturned) {
    return without_device("asking the CUDA driver: " + child.message);
  }
  return DeviceInfo::from_json(nlohmann::json::parse(child.value));
}

nlohmann::json number(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

double number_from(const nlohmann::json& json) {
  return json.is_number() ? json.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

nlohmann::json DeviceInfo::to_json() const {
  return {{"reason", reason},
          {"name", name},
          {"uuid", uuid},
          {"driver", driver},
          {"ecc", ecc},
          {"capability", capability},
          {"driver_cuda", driver_cuda},
          {"runtime_cuda", runtime_cuda},
          {"multiprocessors", multiprocessors},
          {"memory_bytes", memory_bytes},
          {"l2_bytes", l2_bytes},
          {"sm_clock_hz", number(sm_clock_hz)},
          {"memory_clock_hz", number(memory_clock_hz)},
          {"power_limit_w", number(power_limit_w)}};
}

DeviceInfo DeviceInfo::from_json(const nlohmann::json& json) {
  DeviceInfo info;
  info.reason = json.at("reason");
  info.name = json.at("name");
  info.uuid = json.at("uuid");
  info.driver = json.at("driver");
  info.ecc = json.at("ecc");
  info.capability = json.at("capability");
  info.driver_cuda = json.at("driver_cuda");
  info.runtime_cuda = json.at("runtime_cuda");
  info.multiprocessors = json.at("multiprocessors");
  info.memory_bytes = json.at("memory_bytes");
  info.l2_bytes = json.at("l2_bytes");
  info.sm_clock_hz = number_from(json.at("sm_clock_hz"));
  info.memory_clock_hz = number_from(json.at("memory_clock_hz"));
  info.power_limit_w = number_from(json.at("power_limit_w"));
  return info;
}

const DeviceInfo& device_info() {
  if (current() != nullptr) return current()->info();
  static const DeviceInfo info = ask_child();
  return info;
}

std::string device_missing(int capability) {
  const std::string needs = fmt::format("needs CUDA {}.{}", capability / 10, capability % 10);
  const DeviceInfo& info = device_info();
  if (!info.reason.empty()) return fmt::format("{}; {}", needs, info.reason);
  // Machine code is there for 8.x and for 9.0.
  const bool enough = info.capability >= capability && info.capability <= kNewestCapability;
  if (enough) return "";
  return fmt::format("{}; {} has {}.{}", needs, info.name, info.capability / 10,
                     info.capability % 10);
}

Device& device() {
  if (current() == nullptr) current() = start_device().release();
  return *current();
}

void use_device(std::unique_ptr<Device> other) {
  delete current();
  current() = other.release();
}

void device_failed(const std::string& what, const std::string& why) {
  const std::string text = fmt::format("device: {}: {}", what, why);
  end_as_crashed(text);
  throw MachineError(text);
}

namespace {

// A build without nvcc lists its CUDA variants all the same, each with the reason.
struct AbsentCudaVariants {
  AbsentCudaVariants() {
    if (build_info::kCuda != "none") return;
    std::istringstream names{std::string(build_info::kCudaVariants)};
    for (std::string name; names >> name;) {
      const std::size_t slash = name.find('/');
      const Registration absent{{.op = name.substr(0, slash),
                                 .name = name.substr(slash + 1),
                                 .summary = "CUDA kernel, not in this build",
                                 .needs_cuda = 80}};
    }
  }
};
const AbsentCudaVariants kAbsentCudaVariants;

}  // namespace
}  // namespace pareto
