#include "harness/device.h"

#include <fmt/format.h>

#include <filesystem>

namespace pareto {

std::string device_missing(int capability) {
#ifndef PARETO_WITH_CUDA
  return "built without CUDA (no nvcc found)";
#else
  if (!std::filesystem::exists("/dev/nvidiactl")) return "no CUDA device";
  return fmt::format(
      "the timing of CUDA variants (needs compute capability {}.{}) is not part of this version",
      capability / 10, capability % 10);
#endif
}

}  // namespace pareto
