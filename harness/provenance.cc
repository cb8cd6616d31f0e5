#include "harness/provenance.h"

#include <fmt/format.h>
#include <hdf5.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>

#include "build_info.h"

namespace pareto {
namespace {

using nlohmann::json;

struct Libraries {
  std::mutex mutex;
  std::map<std::string, std::string> version;
};

Libraries& libraries() {
  static Libraries instance;
  return instance;
}

json library_versions() {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  H5get_libversion(&major, &minor, &release);
  json versions = {{"HDF5", fmt::format("{}.{}.{}", major, minor, release)},
                   {"fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100,
                                       FMT_VERSION % 100)}};
  const std::scoped_lock lock(libraries().mutex);
  for (const auto& [name, version] : libraries().version) versions[name] = version;
  return versions;
}

// What the schedulers in use put into the environment of a job.
constexpr std::array kSchedulerVariables = {"SLURM_JOB_ID",
                                            "SLURM_ARRAY_JOB_ID",
                                            "SLURM_ARRAY_TASK_ID",
                                            "SLURM_PROCID",
                                            "SLURM_NTASKS",
                                            "SLURM_NODELIST",
                                            "SLURM_JOB_PARTITION",
                                            "SLURM_CPUS_PER_TASK",
                                            "SLURM_RESTART_COUNT",
                                            "PBS_JOBID",
                                            "PBS_ARRAY_INDEX",
                                            "LSB_JOBID",
                                            "LSB_JOBINDEX",
                                            "JOB_ID",
                                            "SGE_TASK_ID",
                                            "OMPI_COMM_WORLD_RANK",
                                            "OMPI_COMM_WORLD_SIZE",
                                            "PMI_RANK",
                                            "PMI_SIZE",
                                            "KUBERNETES_JOB_NAME"};

json scheduler() {
  json ids = json::object();
  for (const char* name : kSchedulerVariables) {
    if (const char* value = std::getenv(name)) ids[name] = value;
  }
  return ids;
}

// The words that this process was started with.
json command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  json words = json::array();
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\0', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

}  // namespace

std::string build_id() { return std::string(build_info::kBuildId); }

json build_provenance() {
  return {{"program", "pareto"},
          {"version", build_info::kVersion},
          {"build", build_info::kBuildId},
          {"git_commit", build_info::kGitCommit},
          {"dirty_diff_sha256", build_info::kDirtyHash},
          {"compiler", fmt::format("{} {}", build_info::kCompiler, build_info::kCompilerVersion)},
          {"flags", build_info::kFlags},
          {"build_type", build_info::kBuildType},
          {"cuda", build_info::kCuda},
          {"libraries", library_versions()}};
}

void add_library_version(const std::string& name, const std::string& version) {
  const std::scoped_lock lock(libraries().mutex);
  libraries().version[name] = version;
}

json run_provenance() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return {{"host", host.data()}, {"command", command_line()}, {"scheduler", scheduler()}};
}

}  // namespace pareto
