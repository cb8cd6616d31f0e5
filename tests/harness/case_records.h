// Case records for the tests of result files.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "harness/case_file.h"
#include "harness/hash.h"

namespace pareto {

/// A folder of its own under the temporary folder, removed at the end.
class ScratchFolder {
 public:
  explicit ScratchFolder(const std::string& name)
      : path_(std::filesystem::temp_directory_path() /
              ("pareto_" + name + "_" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The hash that stands for case `number`.
inline std::string case_hash(int number) {
  return hex(hash_text("case " + std::to_string(number)));
}

/// A finished case with `samples` samples in blocks of 4, its numbers derived from `number`.
inline CaseRecord make_record(int number, int samples = 8) {
  CaseRecord record;
  record.row = {{"case", case_hash(number)},
                {"group", "00000000000000aa"},
                {"op", "qgemm"},
                {"variant", "scalar"},
                {"machine", "machine-a"},
                {"build", "build-1"},
                {"threads", number + 1},
                {"processes", 1},
                {"precision", 0.01},
                {"budget_s", 2.0},
                {"time_median_s", 1e-5 * (number + 1)},
                {"time_lo_s", 0.995e-5 * (number + 1)},
                {"time_hi_s", 1.005e-5 * (number + 1)},
                {"energy_j", nullptr},
                {"suspect", number % 2 == 1},
                {"samples", samples},
                {"calls_per_sample", 3},
                {"check_message", number == 0 ? "" : "µ \"quoted\",\nsecond line"}};
  for (int i = 0; i < samples; ++i) {
    record.samples.seconds.push_back(1e-5 * (number + 1) + 1e-9 * i);
    record.samples.block.push_back(i / 4);
    record.samples.round.push_back(i / 4 + number);
    record.samples.process.push_back(0);
    record.samples.start_s.push_back(0.25F * static_cast<float>(i));
  }
  record.provenance = {{"machine", "{\"cpu\":\"test\"}"}, {"experiment", "title = \"x\"\n"}};
  return record;
}

}  // namespace pareto
