#include "harness/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "harness/case_file.h"
#include "harness/columns.h"
#include "harness/durable_file.h"
#include "harness/errors.h"
#include "harness/result_writer.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;

// A message names this many files; the rest is counted.
constexpr std::size_t kNamedFiles = 3;

// Paths by file name, so that all results of one case come together.
using CasePaths = std::map<std::string, std::vector<fs::path>>;

void collect(const fs::path& folder, CasePaths& paths) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) throw InputError(fmt::format("{}: {}", folder.string(), error.message()));
  std::size_t found = 0;
  for (const auto& entry : entries) {
    const std::string name = entry.path().filename();
    if (!is_case_file_name(name)) continue;
    paths[name].push_back(entry.path());
    ++found;
  }
  if (found == 0) throw InputError(fmt::format("{}: holds no case files", folder.string()));
}

std::string named(const std::vector<std::string>& messages) {
  std::string text;
  for (std::size_t i = 0; i < std::min(messages.size(), kNamedFiles); ++i) {
    text += (i == 0 ? "" : "; ") + messages[i];
  }
  if (messages.size() > kNamedFiles) {
    text += fmt::format("; and {} more", messages.size() - kNamedFiles);
  }
  return text;
}

std::string word(const CaseReading& reading, const char* column) {
  const auto found = reading.record.row.find(column);
  return found != reading.record.row.end() && found->is_string() ? found->get<std::string>() : "";
}

// By machine, then oldest first; the content decides between equal times.
bool before(const CaseReading& a, const CaseReading& b) {
  return std::make_tuple(word(a, "machine"), word(a, "finished_at"), a.content) <
         std::make_tuple(word(b, "machine"), word(b, "finished_at"), b.content);
}

class Merger {
 public:
  Merger(const std::string& target, const MergeOptions& options)
      : options_(options), writer_(target) {}

  void add_case(std::vector<fs::path> paths) {
    std::sort(paths.begin(), paths.end());
    std::vector<CaseReading> readings;
    for (const fs::path& path : paths) {
      CaseReading reading = read_case_file(path);
      if (reading.ok()) reading.invalid = row_mismatch(reading.record.row);
      if (reading.ok()) {
        readings.push_back(std::move(reading));
      } else {
        summary_.damaged.push_back(fmt::format("{}: {}", path.string(), reading.invalid));
      }
    }
    std::sort(readings.begin(), readings.end(), before);
    const auto same = [](const CaseReading& a, const CaseReading& b) {
      return a.content == b.content;
    };
    readings.erase(std::unique(readings.begin(), readings.end(), same), readings.end());
    for (std::size_t i = 0; i < readings.size(); ++i) {
      const bool last_of_machine = i + 1 == readings.size() ||
                                   word(readings[i], "machine") != word(readings[i + 1], "machine");
      if (last_of_machine) {
        writer_.add(readings[i].record);
      } else {
        note_older(readings[i], paths);
      }
    }
  }

  MergeSummary finish() {
    if (!options_.skip_damaged && !summary_.damaged.empty()) {
      throw InputError(fmt::format("damaged case files (--skip-damaged leaves them out): {}",
                                   named(summary_.damaged)));
    }
    if (!conflicts_.empty()) {
      throw InputError(fmt::format(
          "different results for one case on one machine (--keep newest takes the last): {}",
          named(conflicts_)));
    }
    if (writer_.rows() == 0) {
      throw InputError(fmt::format("no sound case file: {}", named(summary_.damaged)));
    }
    writer_.finish();
    summary_.cases = writer_.rows();
    summary_.samples = writer_.samples();
    return summary_;
  }

 private:
  void note_older(const CaseReading& reading, const std::vector<fs::path>& paths) {
    ++summary_.older;
    if (options_.keep_newest) return;
    std::string where;
    for (const fs::path& path : paths) where += (where.empty() ? "" : ", ") + path.string();
    conflicts_.push_back(fmt::format("case {} in {}", word(reading, "case"), where));
  }

  const MergeOptions& options_;
  ResultWriter writer_;
  MergeSummary summary_;
  std::vector<std::string> conflicts_;
};

}  // namespace

MergeSummary merge_cases(std::span<const fs::path> folders, const std::string& target,
                         const MergeOptions& options) {
  CasePaths paths;
  for (const fs::path& folder : folders) collect(folder, paths);
  for (const auto& [name, alternatives] : paths) refuse_to_overwrite(alternatives, "-o", target);
  Merger merger(target, options);
  for (const auto& [name, alternatives] : paths) merger.add_case(alternatives);
  return merger.finish();
}

}  // namespace pareto
