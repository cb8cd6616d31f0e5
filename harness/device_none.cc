// In place of device_cuda.cc in a build without CUDA.
#include "harness/device.h"
#include "harness/device_ceilings.h"
#include "harness/errors.h"

namespace pareto {

std::unique_ptr<Device> start_device() { throw CannotRunError("built without CUDA"); }

DeviceInfo probe_device() {
  DeviceInfo info;
  info.reason = "built without CUDA";
  return info;
}

std::vector<std::string> device_ceiling_names() { return {}; }

std::map<std::string, double> measure_device_ceilings(std::span<const std::string> /*names*/,
                                                      double /*budget_s*/) {
  return {};
}

}  // namespace pareto
