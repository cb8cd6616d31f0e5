// The CUDA device of this machine, or why there is none.
#pragma once

#include <string>

namespace pareto {

/// "" if a device of at least this compute capability (× 10) is here and this build has CUDA
/// kernels; else the reason in words. Asks the driver's files only: never starts CUDA.
std::string device_missing(int capability);

}  // namespace pareto
