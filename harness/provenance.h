// Where a number comes from: source, compiler, libraries, scheduler.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace pareto {

/// 16 hex digits over all sources, the compiler and its flags: column `build`.
std::string build_id();

/// Version, git commit, hash of uncommitted changes, compiler, flags, CUDA, build id and libraries.
nlohmann::json build_provenance();

/// Adds a library to the provenance ("OpenBLAS", "0.3.21, core SkylakeX"); called by whoever loads
/// it. The last version given for a name counts. Thread-safe.
void add_library_version(const std::string& name, const std::string& version);

/// Host name, the words of the command line, and the ids that a scheduler gave this job (Slurm,
/// PBS, LSF, Grid Engine, MPI): what differs from run to run.
nlohmann::json run_provenance();

}  // namespace pareto
