#include "harness/machine.h"

#include <cpuid.h>
#include <fmt/format.h>
#include <hwloc.h>
#include <sched.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "harness/affinity.h"
#include "harness/errors.h"
#include "harness/hash.h"

namespace pareto {
namespace {

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string line_or_unknown(const std::filesystem::path& path) {
  const std::string line = first_line(path);
  return line.empty() ? "unknown" : line;
}

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// Value of the first line "key : value" of a file such as /proc/cpuinfo; empty without one.
std::string field(const std::filesystem::path& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon != std::string::npos && trimmed(line.substr(0, colon)) == key) {
      return trimmed(line.substr(colon + 1));
    }
  }
  return "";
}

// Bytes of a "MemTotal:  123 kB" line.
std::int64_t memory_field(std::string_view key) {
  const std::string text = field("/proc/meminfo", key);
  return text.empty() ? 0 : std::stoll(text) * 1024;
}

// Copies of files that the control group is charged for; they give way to other memory.
std::int64_t cached_file_bytes() {
  std::ifstream file("/sys/fs/cgroup/memory.stat");
  std::int64_t bytes = 0;
  std::string key;
  for (std::int64_t value = 0; file >> key >> value;) {
    if (key == "active_file" || key == "inactive_file") bytes += value;
  }
  return bytes;
}

std::string hypervisor_name() {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & (1U << 31U)) == 0) return "";
  __cpuid(0x40000000, eax, ebx, ecx, edx);
  std::array<char, 13> name{};
  std::memcpy(name.data(), &ebx, 4);
  std::memcpy(name.data() + 4, &ecx, 4);
  std::memcpy(name.data() + 8, &edx, 4);
  return name[0] == 0 ? "unknown" : name.data();
}

// "always [madvise] never" → "madvise".
std::string chosen_word(const std::string& line) {
  const std::size_t open = line.find('[');
  const std::size_t close = line.find(']');
  if (open == std::string::npos || close == std::string::npos) return "unknown";
  return line.substr(open + 1, close - open - 1);
}

double frequency_hz() {
  const std::string khz = first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq");
  if (!khz.empty()) return 1e3 * std::stod(khz);
  const std::string mhz = field("/proc/cpuinfo", "cpu MHz");
  return mhz.empty() ? 0 : 1e6 * std::stod(mhz);
}

struct TopologyDeleter {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};
using Topology = std::unique_ptr<hwloc_topology, TopologyDeleter>;

Topology load_topology() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) throw MachineError("hwloc cannot be initialised");
  Topology topology(raw);
  if (hwloc_topology_load(raw) != 0)
    throw MachineError("hwloc cannot read this machine's topology");
  return topology;
}

// First hardware threads of all cores, then the second ones, …, of those we may run on.
void read_cpus(hwloc_topology_t topology, Machine& machine) {
  std::vector<std::vector<int>> by_core;
  const int cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
  for (int i = 0; i < cores; ++i) {
    const hwloc_obj_t core = hwloc_get_obj_by_type(topology, HWLOC_OBJ_CORE, i);
    std::vector<int> mine;
    for (int cpu = hwloc_bitmap_first(core->cpuset); cpu != -1;
         cpu = hwloc_bitmap_next(core->cpuset, cpu)) {
      if (cpu < CPU_SETSIZE && CPU_ISSET(static_cast<std::size_t>(cpu), &start_affinity())) {
        mine.push_back(cpu);
      }
    }
    if (!mine.empty()) by_core.push_back(mine);
  }
  machine.cores = static_cast<int>(by_core.size());
  for (bool more = true; more;) {
    more = false;
    const std::size_t sibling = machine.cpus.size() / std::max<std::size_t>(1, by_core.size());
    for (const std::vector<int>& core : by_core) {
      if (sibling < core.size()) machine.cpus.push_back(core[sibling]);
      more = more || sibling + 1 < core.size();
    }
  }
  if (machine.cpus.empty()) {  // a topology without cores, in some containers
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(static_cast<std::size_t>(cpu), &start_affinity())) machine.cpus.push_back(cpu);
    }
    machine.cores = static_cast<int>(machine.cpus.size());
  }
  machine.hardware_threads = static_cast<int>(machine.cpus.size());
}

void read_caches(hwloc_topology_t topology, Machine& machine) {
  for (const auto& [type, level] :
       {std::pair{HWLOC_OBJ_L1CACHE, 1}, {HWLOC_OBJ_L2CACHE, 2}, {HWLOC_OBJ_L3CACHE, 3}}) {
    const hwloc_obj_t object = hwloc_get_obj_by_type(topology, type, 0);
    if (object == nullptr || object->attr->cache.size == 0) continue;
    machine.caches.push_back({.level = level,
                              .bytes = static_cast<std::int64_t>(object->attr->cache.size),
                              .line_bytes = static_cast<int>(object->attr->cache.linesize),
                              .instances = hwloc_get_nbobjs_by_type(topology, type)});
  }
}

void read_gpus(Machine& machine) {
  std::error_code error;
  if (!std::filesystem::exists("/dev/nvidiactl", error)) return;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", error)) {
    machine.gpus.push_back(field(entry.path() / "information", "Model"));
  }
  std::sort(machine.gpus.begin(), machine.gpus.end());
  // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Release Build": the dotted number.
  std::istringstream words(first_line("/proc/driver/nvidia/version"));
  for (std::string word; words >> word;) {
    if (std::isdigit(static_cast<unsigned char>(word[0])) != 0 && word.find('.') != word.npos) {
      machine.gpu_driver = word;
      break;
    }
  }
}

std::string identity(const Machine& machine) {
  // Kernels reserve a little more or less of the same memory: quarter powers of two.
  const auto memory = std::llround(4 * std::log2(static_cast<double>(machine.memory_bytes)));
  std::string words =
      fmt::format("{}|{}|{}|{}", machine.cpu_model, machine.isa, machine.cores, memory);
  for (const std::string& gpu : machine.gpus) words += '|' + gpu;
  std::string slug;
  for (const char c : machine.cpu_model.substr(0, machine.cpu_model.find('@'))) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      slug += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!slug.empty() && slug.back() != '_') {
      slug += '_';
    }
  }
  constexpr std::size_t kLongestSlug = 32;
  slug = slug.substr(0, kLongestSlug);
  while (!slug.empty() && slug.back() == '_') slug.pop_back();
  return fmt::format("{}_{}c_{:08x}", slug, machine.cores, hash_text(words) >> 32U);
}

Machine read_machine() {
  Machine machine;
  const std::string model = field("/proc/cpuinfo", "model name");
  const std::string microcode = field("/proc/cpuinfo", "microcode");
  machine.cpu_model = model.empty() ? "unknown CPU" : model;
  machine.vendor = field("/proc/cpuinfo", "vendor_id");
  machine.microcode = microcode.empty() ? "unknown" : microcode;
  machine.governor = line_or_unknown("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  machine.hypervisor = hypervisor_name();
  machine.huge_pages = chosen_word(first_line("/sys/kernel/mm/transparent_hugepage/enabled"));
  utsname name{};
  if (uname(&name) == 0) machine.kernel = name.release;
  machine.frequency_hz = frequency_hz();
  machine.memory_bytes = memory_field("MemTotal");
  machine.isa = isa_here();
  const Topology topology = load_topology();
  machine.sockets = std::max(1, hwloc_get_nbobjs_by_type(topology.get(), HWLOC_OBJ_PACKAGE));
  machine.numa_nodes = std::max(1, hwloc_get_nbobjs_by_type(topology.get(), HWLOC_OBJ_NUMANODE));
  read_cpus(topology.get(), machine);
  read_caches(topology.get(), machine);
  read_gpus(machine);
  machine.id = identity(machine);
  return machine;
}

}  // namespace

std::vector<int> Machine::pinning(int threads) const {
  if (threads < 1 || threads > hardware_threads) {
    throw InputError(
        fmt::format("threads = {} must be 1 to {}, the hardware threads of this machine", threads,
                    hardware_threads));
  }
  return {cpus.begin(), cpus.begin() + threads};
}

std::int64_t Machine::cache_bytes(int level) const {
  for (const Cache& cache : caches) {
    if (cache.level == level) return cache.bytes;
  }
  return 0;
}

std::int64_t Machine::cache_bytes(int level, int threads) const {
  for (const Cache& cache : caches) {
    if (cache.level != level) continue;
    // Threads fill the cores in order, and so the cache instances that the cores share.
    const int sharing = std::max(1, cores / std::max(1, cache.instances));
    const int used = std::min(cache.instances, (std::min(threads, cores) + sharing - 1) / sharing);
    return cache.bytes * used;
  }
  return 0;
}

std::int64_t Machine::last_level_bytes() const {
  // Some virtual machines hide their caches: "cold" must be cold with any that there may be.
  constexpr std::int64_t kUnknown = std::int64_t{64} << 20;
  return caches.empty() ? kUnknown : caches.back().bytes * caches.back().instances;
}

nlohmann::json Machine::to_json() const {
  nlohmann::json cache_list = nlohmann::json::array();
  for (const Cache& cache : caches) {
    cache_list.push_back({{"level", cache.level},
                          {"bytes", cache.bytes},
                          {"line_bytes", cache.line_bytes},
                          {"instances", cache.instances}});
  }
  return {{"id", id},
          {"cpu_model", cpu_model},
          {"vendor", vendor},
          {"microcode", microcode},
          {"governor", governor},
          {"hypervisor", hypervisor},
          {"huge_pages", huge_pages},
          {"kernel", kernel},
          {"frequency_hz", frequency_hz},
          {"sockets", sockets},
          {"cores", cores},
          {"hardware_threads", hardware_threads},
          {"numa_nodes", numa_nodes},
          {"caches", cache_list},
          {"memory_bytes", memory_bytes},
          {"isa", isa_names(isa)},
          {"gpus", gpus},
          {"gpu_driver", gpu_driver}};
}

const Machine& this_machine() {
  static const Machine machine = read_machine();
  return machine;
}

std::int64_t available_memory_bytes() {
  const std::int64_t available = memory_field("MemAvailable");
  const std::string limit = first_line("/sys/fs/cgroup/memory.max");
  const std::string used = first_line("/sys/fs/cgroup/memory.current");
  if (limit.empty() || limit == "max" || used.empty()) return available;
  const std::int64_t left = std::stoll(limit) - std::stoll(used) + cached_file_bytes();
  return std::min(available, std::max<std::int64_t>(0, left));
}

void require_memory(const std::string& what, double bytes) {
  const std::int64_t available = available_memory_bytes();
  if (bytes <= static_cast<double>(available)) return;
  throw MachineError(
      fmt::format("{} takes {:.0f} bytes of memory; {} are available", what, bytes, available));
}

}  // namespace pareto
