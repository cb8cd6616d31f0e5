// The rows of a result file in memory, column by column.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "harness/columns.h"

namespace pareto {

/// One column; only the vector of its type is in use.
struct ColumnData {
  Column column;
  std::vector<std::int64_t> integers;  ///< kInteger, kBool
  std::vector<double> reals;
  std::vector<std::string> texts;

  /// Appends a row's value, null for a missing one. The value must fit (see `row_mismatch`).
  void append(const nlohmann::json& value);
  /// null for a missing value and for NaN.
  [[nodiscard]] nlohmann::json value(std::size_t row) const;
  [[nodiscard]] bool missing(std::size_t row) const;
  /// "" if missing, else the shortest form that reads back.
  [[nodiscard]] std::string print(std::size_t row) const;
};

struct ResultTable {
  std::size_t rows = 0;
  std::vector<ColumnData> columns;

  /// nullptr if there is none.
  [[nodiscard]] const ColumnData* find(std::string_view name) const;
  /// Throws InputError with the nearest name.
  [[nodiscard]] const ColumnData& at(std::string_view name) const;
  /// Column name → value of a row; null for what is missing.
  [[nodiscard]] nlohmann::json row(std::size_t row) const;
  /// NaN, "" and false for what is missing, be it the value or the column.
  [[nodiscard]] double real(std::string_view name, std::size_t row) const;
  [[nodiscard]] std::string text(std::string_view name, std::size_t row) const;
  [[nodiscard]] bool flag(std::string_view name, std::size_t row) const;
};

}  // namespace pareto
