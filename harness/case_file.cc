#include "harness/case_file.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>

#include "harness/durable_file.h"
#include "harness/errors.h"
#include "harness/hash.h"
#include "harness/hdf5.h"
#include "harness/json_text.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kFormat = "pareto case";
constexpr std::size_t kHashDigits = 16;

// Behind the HDF5 data, which readers ignore: a mark and the hash of all bytes before it. Checked
// before the library sees a byte, since it does not survive every damaged file.
struct Footer {
  char mark[8] = {'P', 'A', 'R', 'E', 'T', 'O', '1', '\n'};
  std::uint64_t content = 0;
};

std::string timestamp() {
  const auto now = std::chrono::system_clock::now();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch());
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(now)), ms.count() % 1000);
}

template <typename T>
void write_samples(const H5File& file, const std::string& name, const std::vector<T>& values) {
  const hsize_t extent = values.size();
  write_dataset(file, "samples/" + name, std::span(&extent, 1), std::span<const T>(values));
}

void check_lengths(const CaseRecord& record) {
  const SampleSet& samples = record.samples;
  for (const std::size_t size : {samples.block.size(), samples.round.size(), samples.process.size(),
                                 samples.start_s.size()}) {
    if (size != samples.size()) {
      throw std::logic_error(fmt::format("case {}: {} samples, {} indices",
                                         record.row.at("case").get<std::string>(), samples.size(),
                                         size));
    }
  }
}

std::vector<std::byte> image_of(const CaseRecord& record, const std::string& name) {
  check_lengths(record);
  json row = record.row;
  if (!row.contains("finished_at")) row["finished_at"] = timestamp();
  H5File file = H5File::create_in_memory(name);
  write_attribute(file, file.id(), "format", std::string(kFormat));
  write_attribute(file, file.id(), "schema_version", kCaseSchemaVersion);
  write_text(file, "row", json_text(row));
  write_samples(file, "seconds", record.samples.seconds);
  write_samples(file, "block", record.samples.block);
  write_samples(file, "round", record.samples.round);
  write_samples(file, "process", record.samples.process);
  write_samples(file, "start_s", record.samples.start_s);
  for (const auto& [section, text] : record.provenance)
    write_text(file, "provenance/" + section, text);
  std::vector<std::byte> bytes = file.image();
  Footer footer;
  footer.content = hash_bytes(bytes);
  const auto* raw = reinterpret_cast<const std::byte*>(&footer);
  bytes.insert(bytes.end(), raw, raw + sizeof(footer));
  return bytes;
}

// Keeps an older file of a case under superseded/<hash>.<n>.h5. A second name, not a move: the case
// has a file at every moment.
void supersede(const fs::path& path) {
  if (!fs::exists(path)) return;
  const fs::path folder = path.parent_path() / "superseded";
  std::error_code error;
  fs::create_directory(folder, error);
  if (error) throw MachineError(fmt::format("{}: {}", folder.string(), error.message()));
  for (int number = 1;; ++number) {
    const fs::path kept = folder / fmt::format("{}.{}.h5", path.stem().string(), number);
    if (::link(path.c_str(), kept.c_str()) == 0 || errno == ENOENT) return;
    if (errno == EEXIST) continue;
    // A file system without hard links.
    if (fs::exists(kept)) continue;
    if (::rename(path.c_str(), kept.c_str()) == 0) return;
    throw MachineError(fmt::format("{}: {}", kept.string(), std::strerror(errno)));
  }
}

fs::path path_of(const fs::path& dir, const CaseRecord& record) {
  return case_path(dir, record.row.at("case").get<std::string>());
}

// True if every file could be published; false if somebody removed a temporary file.
bool try_write(const fs::path& dir, std::span<const CaseRecord> records) {
  std::vector<PendingFile> pending;
  pending.reserve(records.size());
  for (const CaseRecord& record : records) {
    const fs::path path = path_of(dir, record);
    pending.emplace_back(path, image_of(record, path.string()));
  }
  const FolderLock lock(dir);
  for (std::size_t i = 0; i < records.size(); ++i) {
    supersede(path_of(dir, records[i]));
    if (!pending[i].publish()) return false;
  }
  sync_folder(dir);
  return true;
}

// The HDF5 part of a case file, or InputError with the reason.
std::span<const std::byte> checked_content(std::span<const std::byte> bytes,
                                           std::uint64_t& content) {
  constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
  if (bytes.size() < kSignature.size() ||
      std::memcmp(bytes.data(), kSignature.data(), kSignature.size()) != 0) {
    throw InputError("not an HDF5 file");
  }
  Footer footer;
  const Footer wanted;
  if (bytes.size() >= sizeof(footer)) {
    std::memcpy(&footer, bytes.data() + bytes.size() - sizeof(footer), sizeof(footer));
  }
  if (bytes.size() < sizeof(footer) || footer.content == 0 ||
      std::memcmp(footer.mark, wanted.mark, sizeof(footer.mark)) != 0) {
    throw InputError("truncated, or not a case file");
  }
  bytes = bytes.first(bytes.size() - sizeof(footer));
  content = footer.content;
  if (hash_bytes(bytes) != content) throw InputError("damaged: its checksum does not fit");
  return bytes;
}

json read_row(const H5File& file) {
  const std::int64_t version = read_integer_attribute(file, file.id(), "schema_version");
  if (version != kCaseSchemaVersion) {
    throw InputError(
        fmt::format("schema version {}; this program reads {}", version, kCaseSchemaVersion));
  }
  json row = json::parse(read_text(file, "row"), nullptr, false);
  if (!row.is_object() || !row.contains("case")) throw InputError("its row is not a JSON object");
  return row;
}

void read_samples(const H5File& file, SampleSet& samples) {
  samples.seconds = read_dataset<double>(file, "samples/seconds");
  samples.block = read_dataset<std::int32_t>(file, "samples/block");
  samples.round = read_dataset<std::int32_t>(file, "samples/round");
  samples.process = read_dataset<std::int32_t>(file, "samples/process");
  samples.start_s = read_dataset<float>(file, "samples/start_s");
}

void read_provenance(const H5File& file, std::map<std::string, std::string>& sections) {
  if (!has_link(file, "provenance")) return;
  const H5Handle group = open_group(file, "provenance");
  for (const std::string& name : names_in(file, group.id())) {
    sections[name] = read_text(file, "provenance/" + name);
  }
}

CaseReading read_case(const fs::path& path, bool everything) {
  CaseReading reading;
  try {
    const std::vector<std::byte> bytes = read_whole_file(path);
    const std::span<const std::byte> image = checked_content(bytes, reading.content);
    const H5File file = H5File::open_image(image, path.string());
    reading.record.row = read_row(file);
    if (everything) {
      read_samples(file, reading.record.samples);
      read_provenance(file, reading.record.provenance);
      check_lengths(reading.record);
    }
    if (reading.record.row.at("case") != path.stem().string()) {
      reading.invalid = "holds another case than its name says";
    }
  } catch (const std::exception& error) {
    const std::string prefix = path.string() + ": ";
    const std::string_view message = error.what();
    reading.invalid = message.starts_with(prefix) ? message.substr(prefix.size()) : message;
  }
  if (!reading.ok()) reading.record = {};
  return reading;
}

double number_in(const json& row, const char* column) {
  const auto found = row.find(column);
  return found != row.end() && found->is_number() ? found->get<double>() : NAN;
}

// Half width of the interval relative to the median; NaN if not known.
double precision_reached(const json& row) {
  const double median = number_in(row, "time_median_s");
  return std::max(number_in(row, "time_hi_s") - median, median - number_in(row, "time_lo_s")) /
         median;
}

}  // namespace

fs::path case_path(const fs::path& dir, const std::string& hash) { return dir / (hash + ".h5"); }

bool is_case_file_name(const std::string& name) {
  return name.size() == kHashDigits + 3 && name.ends_with(".h5") &&
         name.find_first_not_of("0123456789abcdef") == kHashDigits;
}

void prepare_case_folder(const fs::path& dir) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (error == std::errc::not_a_directory) {
    throw InputError(fmt::format("{}: is a file, must be a folder", dir.string()));
  }
  if (error) throw MachineError(fmt::format("{}: {}", dir.string(), error.message()));
  remove_stale_temporaries(dir);
  if (::access(dir.c_str(), R_OK | W_OK | X_OK) != 0) {
    throw MachineError(fmt::format("{}: {}", dir.string(), std::strerror(errno)));
  }
}

void write_case_files(const fs::path& dir, std::span<const CaseRecord> records) {
  constexpr int kAttempts = 3;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (try_write(dir, records)) return;
  }
  throw MachineError(
      fmt::format("{}: temporary files disappear while they are written", dir.string()));
}

CaseReading read_case_file(const fs::path& path) { return read_case(path, true); }
CaseReading read_case_row(const fs::path& path) { return read_case(path, false); }

std::string why_not_valid(const json& row, const Demand& demand) {
  if (row.value("machine", "") != demand.machine) return "measured on another machine";
  if (row.value("build", "") != demand.build) return "measured by another build";
  if (row.value("processes", 0) < demand.processes) {
    return fmt::format("measured in {} processes, {} asked", row.value("processes", 0),
                       demand.processes);
  }
  // A case that could not be timed ends the same way the next time.
  if (std::isnan(number_in(row, "time_median_s"))) return "";
  if (demand.energy && row.value("energy_reason", "") == kEnergyNotAsked) {
    return "measured without energy";
  }
  if (precision_reached(row) <= demand.precision) return "";
  if (number_in(row, "precision") <= demand.precision &&
      number_in(row, "budget_s") >= demand.budget_s) {
    return "";
  }
  return fmt::format("measured to {:.2g}, {:.2g} asked", precision_reached(row), demand.precision);
}

}  // namespace pareto
