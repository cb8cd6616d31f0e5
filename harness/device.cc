#include "harness/device.h"

#include <fmt/format.h>

#include <filesystem>
#include <sstream>
#include <string>

#include "build_info.h"
#include "harness/variant.h"

namespace pareto {

std::string device_missing(int capability) {
  if (build_info::kCuda == "none") {
    return fmt::format("needs CUDA {}.{}; built without CUDA (no nvcc found)", capability / 10,
                       capability % 10);
  }
  if (!std::filesystem::exists("/dev/nvidiactl")) return "no CUDA device";
  return fmt::format("needs CUDA {}.{}; this version compiles CUDA variants but does not run them",
                     capability / 10, capability % 10);
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
