// Rows of result files that may be compared with one another.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "harness/compare.h"
#include "harness/result_file.h"

namespace pareto {

/// One row of a file.
struct RowOf {
  const ResultFile* file = nullptr;
  const ResultTable* table = nullptr;
  std::size_t row = 0;

  [[nodiscard]] std::string text(std::string_view column) const { return table->text(column, row); }
  [[nodiscard]] double real(std::string_view column) const { return table->real(column, row); }
  [[nodiscard]] SampleSet samples() const { return file->samples(row); }
};

struct PairedRows {
  RowOf first;
  RowOf second;

  [[nodiscard]] bool across_files() const { return first.file != second.file; }
  /// "" or why the two cannot be compared ("the second was not timed: needs AMX-INT8").
  [[nodiscard]] std::string obstacle() const;
  [[nodiscard]] ProcessMedians process_medians() const;
  [[nodiscard]] Comparison compare_by_rounds(const CompareOptions& options) const;
};

/// Pairs of one go that differ only in the variant. `variants` is "A,B[,C…]", short or full names,
/// each compared with the first. InputError for a name that the file lacks (with the nearest), and
/// if no group has two of them.
std::vector<PairedRows> pair_inside(const ResultFile& file, const std::string& variants);

/// What pair_across() makes of two files.
struct AcrossFiles {
  std::vector<PairedRows> pairs;
  std::vector<std::string> only_first;  ///< hashes of cases that the other file lacks
  std::vector<std::string> only_second;
};

/// The same cases on the same machine; with `machines` "X,Y" those of machine X in the first file
/// and of Y in the second. InputError for unlike machines not asked for by name, and if the files
/// share no case.
AcrossFiles pair_across(const ResultFile& first, const ResultFile& second,
                        const std::string& machines);

/// Drift of the baselines among the pairs whose library is unchanged; 0 without any.
double drift_of_baselines(const std::vector<PairedRows>& pairs);

}  // namespace pareto
