// How many blocks of a CUDA kernel fit on one multiprocessor at once, from what ptxas says of it
// and how it is launched. Plain arithmetic: needs neither a device nor CUDA.
#pragma once

#include <string>
#include <string_view>

namespace pareto {

/// Threads of a block where a variant names no other launch.
inline constexpr int kDefaultBlockThreads = 256;

/// What one multiprocessor has; CUDA Programming Guide, "Technical Specifications per Compute
/// Capability", and the granularities of the toolkit's cuda_occupancy.h.
struct MultiprocessorLimits {
  int warps = 64;
  int blocks = 32;
  int registers = 65536;           ///< also the most a block may have
  int registers_per_thread = 255;  ///< at most
  int shared_bytes = 0;            ///< for all blocks, with what the system reserves
  int shared_bytes_per_block = 0;  ///< without it
};

/// Of an architecture as ptxas names it ("sm_80", "sm_90a"); null for one that is not known.
const MultiprocessorLimits* multiprocessor_limits(std::string_view arch);

/// What a block takes. Threads 1 to 1024; shared memory static and dynamic, in bytes.
struct BlockNeeds {
  int threads = kDefaultBlockThreads;
  int registers = 0;  ///< per thread
  int shared_bytes = 0;
};

struct Occupancy {
  int blocks = 0;  ///< per multiprocessor; 0: cannot be launched
  int warps = 0;
  /// What ends the number of blocks: "warps" "blocks" "registers" "shared memory"; of several the
  /// first of these.
  std::string_view limited_by;
};

Occupancy occupancy(const MultiprocessorLimits& limits, const BlockNeeds& needs);

/// How a kernel is launched.
struct KernelLaunch {
  int threads = kDefaultBlockThreads;
  int dynamic_shared_bytes = 0;
};

/// Says how a kernel of a variant is launched, where that is not the default; one beside its
/// Registration. `kernel` is the name of its function, without template arguments.
struct LaunchesKernel {
  LaunchesKernel(const std::string& variant, const std::string& kernel, const KernelLaunch& launch);
};
/// The launch said of this kernel, or the default.
KernelLaunch kernel_launch_of(const std::string& variant, const std::string& kernel);

}  // namespace pareto
