// Reading a result file that `merge` wrote.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "harness/case_file.h"
#include "harness/hdf5.h"
#include "harness/result_table.h"

namespace pareto {

/// All columns in memory; samples are read case by case.
class ResultFile {
 public:
  [[nodiscard]] const std::string& path() const { return file_.name(); }
  [[nodiscard]] std::size_t rows() const { return table_.rows; }
  [[nodiscard]] const ResultTable& table() const { return table_; }
  /// The samples of a row, in the order they were taken.
  [[nodiscard]] SampleSet samples(std::size_t row) const;
  /// Texts by section ("machine", "build", "ceilings", "experiment", …) of a row.
  [[nodiscard]] std::map<std::string, std::string> provenance(std::size_t row) const;
  /// The row whose case begins with `prefix`. InputError if there is none or more than one.
  [[nodiscard]] std::size_t find_case(const std::string& prefix) const;
  /// Every column of that row; null for what is missing.
  [[nodiscard]] nlohmann::json row_of(const std::string& prefix) const;

 private:
  friend ResultFile read_result_file(const std::string& path);
  explicit ResultFile(H5File file) : file_(std::move(file)) {}
  void check_version() const;
  void read_columns();
  void index_samples();

  H5File file_;
  ResultTable table_;
  std::vector<std::uint64_t> first_sample_;  ///< per row, and one behind the end
};

/// InputError in one line for a missing or foreign file, another schema version, a case file, or
/// columns whose lengths disagree.
ResultFile read_result_file(const std::string& path);

}  // namespace pareto
