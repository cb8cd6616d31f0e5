#include "harness/result_table.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "harness/errors.h"

namespace pareto {

using nlohmann::json;

void ColumnData::append(const json& value) {
  const bool absent = value.is_null();
  switch (column.type) {
    case ColumnType::kInteger:
      integers.push_back(absent ? kMissingInteger : value.get<std::int64_t>());
      break;
    case ColumnType::kBool:
      integers.push_back(absent ? kMissingBool : std::int64_t{value.get<bool>()});
      break;
    case ColumnType::kReal:
      reals.push_back(absent ? std::numeric_limits<double>::quiet_NaN() : value.get<double>());
      break;
    case ColumnType::kText:
      texts.push_back(absent ? "" : value.get<std::string>());
      break;
  }
}

bool ColumnData::missing(std::size_t row) const {
  switch (column.type) {
    case ColumnType::kInteger:
      return integers[row] == kMissingInteger;
    case ColumnType::kBool:
      return integers[row] == kMissingBool;
    case ColumnType::kReal:
      return std::isnan(reals[row]);
    case ColumnType::kText:
      return texts[row].empty();
  }
  return true;
}

json ColumnData::value(std::size_t row) const {
  if (missing(row)) return nullptr;
  switch (column.type) {
    case ColumnType::kInteger:
      return integers[row];
    case ColumnType::kBool:
      return integers[row] != 0;
    case ColumnType::kReal:
      return reals[row];
    case ColumnType::kText:
      return texts[row];
  }
  return nullptr;
}

std::string ColumnData::print(std::size_t row) const {
  if (missing(row)) return "";
  switch (column.type) {
    case ColumnType::kInteger:
      return fmt::format("{}", integers[row]);
    case ColumnType::kBool:
      return integers[row] != 0 ? "true" : "false";
    case ColumnType::kReal:
      return fmt::format("{}", reals[row]);
    case ColumnType::kText:
      return texts[row];
  }
  return "";
}

const ColumnData* ResultTable::find(std::string_view name) const {
  for (const ColumnData& data : columns) {
    if (data.column.name == name) return &data;
  }
  return nullptr;
}

const ColumnData& ResultTable::at(std::string_view name) const {
  if (const ColumnData* data = find(name)) return *data;
  std::vector<std::string> names;
  for (const ColumnData& data : columns) names.push_back(data.column.name);
  throw InputError(fmt::format("unknown column '{}'{}", name, suggestion(name, names)));
}

json ResultTable::row(std::size_t row) const {
  json values = json::object();
  for (const ColumnData& data : columns) values[data.column.name] = data.value(row);
  return values;
}

double ResultTable::real(std::string_view name, std::size_t row) const {
  const ColumnData* data = find(name);
  if (data == nullptr || data->missing(row)) return std::numeric_limits<double>::quiet_NaN();
  return data->column.type == ColumnType::kReal ? data->reals[row]
                                                : static_cast<double>(data->integers.at(row));
}

std::string ResultTable::text(std::string_view name, std::size_t row) const {
  const ColumnData* data = find(name);
  return data == nullptr ? "" : data->texts.at(row);
}

bool ResultTable::flag(std::string_view name, std::size_t row) const {
  const ColumnData* data = find(name);
  return data != nullptr && data->integers.at(row) == 1;
}

}  // namespace pareto
