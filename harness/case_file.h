// A finished case is one small immutable HDF5 file, `<dir>/<case-hash>.h5`. What was reported as
// written survives kill -9 and power failure.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pareto {

/// Raw samples of one case, one element per sample each, in the order they were taken.
struct SampleSet {
  std::vector<double> seconds;        ///< per call
  std::vector<std::int32_t> block;    ///< from 0 in each process
  std::vector<std::int32_t> round;    ///< from 0 in each process; pairs the variants of a group
  std::vector<std::int32_t> process;  ///< from 0
  std::vector<float> start_s;         ///< from the group's first visit in that process
  [[nodiscard]] std::size_t size() const { return seconds.size(); }
};

struct CaseRecord {
  /// Column name (harness/columns.h) → value; NaN and what does not apply as null or absent.
  /// `case` is the file's name; `finished_at` is filled in when the file is written.
  nlohmann::json row = nlohmann::json::object();
  SampleSet samples;
  /// Texts that many cases share, by section: "machine", "build", "ceilings" (JSON),
  /// "experiment" (TOML, verbatim).
  std::map<std::string, std::string> provenance;
};

/// What a finished case must come up to for a run to skip it.
struct Demand {
  std::string machine;  ///< id; column `machine`
  std::string build;    ///< id; column `build`
  int processes = 1;
  double precision = 0;  ///< relative half width of the interval
  double budget_s = 0;   ///< sampling time per case that is on offer
  bool energy = false;   ///< asked for
};

/// `energy_reason` of cases whose energy nobody asked for.
inline constexpr std::string_view kEnergyNotAsked = "not asked for (--energy)";

/// What a case file turned out to be.
struct CaseReading {
  CaseRecord record;
  std::string invalid;  ///< "" or the reason, without the path: "no such file", "truncated file …"
  std::uint64_t content = 0;  ///< hash of row, samples and provenance
  [[nodiscard]] bool ok() const { return invalid.empty(); }
};

inline constexpr std::int64_t kCaseSchemaVersion = 1;

/// `<dir>/<hash>.h5`
std::filesystem::path case_path(const std::filesystem::path& dir, const std::string& hash);
/// True for the name of a case file: 16 lower-case hex digits and ".h5".
bool is_case_file_name(const std::string& name);

/// Creates `dir` if need be and removes temporary files that dead processes of this machine left.
/// MachineError if the folder cannot be made or written to, before any time is spent measuring;
/// InputError if `dir` is a file.
void prepare_case_folder(const std::filesystem::path& dir);

/// Writes the cases of one group. All are first written under temporary names and fsynced; then
/// each older file moves to `superseded/` and the new one takes its name in one step, all while no
/// other writer does so in this folder; then the folder is fsynced. A kill in between leaves every
/// case with a whole file, old or new. MachineError names path and reason; then the temporary files
/// are gone and older files stand.
void write_case_files(const std::filesystem::path& dir, std::span<const CaseRecord> records);

/// Reads and validates a case file; never throws for a bad one. Prints nothing.
CaseReading read_case_file(const std::filesystem::path& path);
/// The same without samples and provenance (left empty), several times faster: what a resuming run
/// needs.
CaseReading read_case_row(const std::filesystem::path& path);

/// "" if the record satisfies the demand, else why not ("measured by another build").
/// Precision counts as reached too where the budget ended a measurement that asked for as much and
/// had as much time: measuring again would end the same way.
std::string why_not_valid(const nlohmann::json& row, const Demand& demand);

}  // namespace pareto
