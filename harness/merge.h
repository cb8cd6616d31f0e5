// Case files into one result file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace pareto {

struct MergeOptions {
  /// Of several results for one case on one machine the one finished last; else they are refused.
  bool keep_newest = false;
  /// Damaged case files are left out and named in the summary; else they are refused.
  bool skip_damaged = false;
};

struct MergeSummary {
  std::size_t cases = 0;
  std::size_t samples = 0;
  std::size_t older = 0;             ///< results left out by `keep_newest`
  std::vector<std::string> damaged;  ///< "path: reason", by path
};

/// Merges the case files of the folders (`superseded/`, temporary and other files apart) into
/// `target`, ordered by case and machine whatever the order of the folders. Copies of one file
/// count once. InputError, naming the files, for a folder without case files, damaged files, rows
/// of another build's columns, two results for one case on one machine, and a target that is one of
/// the case files; MachineError if the target cannot be written. `target` is replaced only by a
/// complete file.
MergeSummary merge_cases(std::span<const std::filesystem::path> folders, const std::string& target,
                         const MergeOptions& options);

}  // namespace pareto
