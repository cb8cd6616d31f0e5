// The one table of the columns of a result file; results/README.md explains them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/case.h"

namespace pareto {

enum class ColumnType : std::uint8_t {
  kInteger,  ///< int64; missing: kMissingInteger
  kReal,     ///< float64; missing: NaN
  kText,     ///< UTF-8; missing: ""
  kBool,     ///< int8 0 or 1; missing: kMissingBool
};

/// Fill values, those of netCDF.
inline constexpr std::int64_t kMissingInteger = -9223372036854775806;
inline constexpr std::int8_t kMissingBool = -127;

struct Column {
  std::string name;
  ColumnType type = ColumnType::kReal;
  std::string unit;       ///< CF: "s", "byte", "1"; empty for texts
  std::string long_name;  ///< one line
};

/// Every column in the order of a result file: words of the case, keys of all ops, measurements,
/// errors, provenance.
const std::vector<Column>& columns();
/// nullptr if there is none.
const Column* find_column(std::string_view name);

/// The words of a case as a row: case, group, op, variant, every key of its op, distribution, seed,
/// threads, cache. NaN is null.
nlohmann::json words_row(const Case& subject);

/// The case that a row describes, with its hash in this program (`file` tensors are not looked at).
/// InputError if the row names an op, variant or value that this program does not know, or lacks a
/// column that every case has.
Case case_from_row(const nlohmann::json& row);

/// "" or why the row does not fit the table ("column 'M' must be an integer, is "x"").
std::string row_mismatch(const nlohmann::json& row);

}  // namespace pareto
