// This machine: topology, caches, ISA, memory, GPU. Read from hwloc, CPUID and the kernel's files;
// nothing here measures, and nothing starts CUDA.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "harness/isa.h"

namespace pareto {

struct Cache {
  int level = 1;           ///< 1, 2, 3: data or unified
  std::int64_t bytes = 0;  ///< of one instance
  int line_bytes = 64;
  int instances = 1;
};

struct Machine {
  /// Stable name, fit for a file: CPU model, cores and a hash of model, ISA, cores, memory and
  /// GPUs. The host's name is no part of it; PARETO_ISA_MASK makes another machine.
  std::string id;
  std::string cpu_model;
  std::string vendor;
  std::string microcode;  ///< "unknown" where the kernel does not say; so for the next two
  std::string governor;
  std::string hypervisor;   ///< empty: none reported
  std::string huge_pages;   ///< transparent_hugepage: "always", "madvise", "never"
  std::string kernel;       ///< release of the operating system's kernel
  double frequency_hz = 0;  ///< as the kernel reports it now; 0: not reported
  int sockets = 0;
  int cores = 0;  ///< that this process may use
  int hardware_threads = 0;
  int numa_nodes = 0;
  std::vector<Cache> caches;  ///< ascending level
  std::int64_t memory_bytes = 0;
  IsaSet isa = 0;
  std::vector<std::string> gpus;  ///< names, from the driver's files
  std::string gpu_driver;
  std::vector<int> cpus;  ///< first hardware thread of every core, then the second ones, …

  /// CPU numbers for `threads` pinned threads, one per core as long as there are cores. InputError
  /// beyond the hardware threads.
  [[nodiscard]] std::vector<int> pinning(int threads) const;
  /// Bytes of one data cache of this level; 0 if there is none.
  [[nodiscard]] std::int64_t cache_bytes(int level) const;
  /// Bytes of this level that `threads` pinned threads have between them; 0 if there is none.
  [[nodiscard]] std::int64_t cache_bytes(int level, int threads) const;
  /// Bytes of the largest cache level, all instances; 64 MiB where the machine does not say.
  [[nodiscard]] std::int64_t last_level_bytes() const;
  [[nodiscard]] nlohmann::json to_json() const;
};

/// Read once; MachineError if the topology cannot be had.
const Machine& this_machine();

/// Memory that can be had now without swapping, within the limits of the control group.
std::int64_t available_memory_bytes();

/// MachineError naming `what` and both numbers if `bytes` are more than can be had now: the system
/// grants them all the same and kills the program once it writes there.
void require_memory(const std::string& what, double bytes);

}  // namespace pareto
