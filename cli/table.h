// Tables and numbers as every verb prints them.
#pragma once

#include <string>
#include <vector>

namespace pareto {

/// Rows of cells, printed with columns as wide as their widest cell.
class TextTable {
 public:
  /// A header that begins with '<' is left-aligned (without the '<'); others are right-aligned.
  explicit TextTable(std::vector<std::string> headers);
  /// As many cells as headers.
  void add(std::vector<std::string> cells);
  [[nodiscard]] bool empty() const { return rows_.empty(); }
  /// Header, then rows, one line each; columns without any cell are left out.
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::string> headers_;
  std::vector<bool> left_;
  std::vector<std::vector<std::string>> rows_;
};

/// "12.34 us", "1.235 ms", "2.000 s"; "-" for NaN.
std::string seconds_text(double seconds);
/// "12.3 %"; "-" for NaN.
std::string percent_text(double fraction);
/// "1.2e-03"; "-" for NaN.
std::string error_text(double error);

/// Writes to standard output, with what is still in its buffer; MachineError if that or an earlier
/// write fails (disk full, closed pipe).
void print_text(const std::string& text);

}  // namespace pareto
