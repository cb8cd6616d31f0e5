#include "harness/result_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "harness/errors.h"
#include "harness/result_writer.h"

namespace pareto {
namespace {

bool is_column(const std::string& name) {
  if (name == "provenance_index") return true;
  return name != "run" && name != "sample" && name != "provenance" && name != "row_size" &&
         !name.starts_with("sample_") && !name.starts_with("provenance_");
}

ColumnType type_of(const H5File& file, hid_t dataset, const std::string& name) {
  const H5Handle type(H5Dget_type(dataset), H5Tclose);
  switch (H5Tget_class(type.id())) {
    case H5T_FLOAT:
      return ColumnType::kReal;
    case H5T_STRING:
      return ColumnType::kText;
    case H5T_INTEGER:
      return H5Tget_size(type.id()) == 1 ? ColumnType::kBool : ColumnType::kInteger;
    default:
      throw InputError(fmt::format("{}: column '{}' has an unknown type", file.name(), name));
  }
}

std::string optional_attribute(const H5File& file, hid_t dataset, const std::string& name) {
  return has_attribute(file, dataset, name) ? read_text_attribute(file, dataset, name) : "";
}

ColumnData read_column(const H5File& file, const std::string& name) {
  const H5Handle dataset = open_dataset(file, name);
  ColumnData data;
  data.column = {name, type_of(file, dataset.id(), name),
                 optional_attribute(file, dataset.id(), "units"),
                 optional_attribute(file, dataset.id(), "long_name")};
  switch (data.column.type) {
    case ColumnType::kInteger:
    case ColumnType::kBool:
      data.integers = read_dataset<std::int64_t>(file, name);
      break;
    case ColumnType::kReal:
      data.reals = read_dataset<double>(file, name);
      break;
    case ColumnType::kText:
      data.texts = read_strings(file, name);
      break;
  }
  return data;
}

std::size_t length_of(const ColumnData& data) {
  return std::max({data.integers.size(), data.reals.size(), data.texts.size()});
}

// Columns in the order of the table; those of other builds behind, by name.
void sort_columns(std::vector<ColumnData>& columns_read) {
  const auto rank = [](const ColumnData& data) {
    const Column* known = find_column(data.column.name);
    return known == nullptr ? columns().size() : static_cast<std::size_t>(known - columns().data());
  };
  std::stable_sort(columns_read.begin(), columns_read.end(),
                   [&](const ColumnData& a, const ColumnData& b) { return rank(a) < rank(b); });
}

template <typename T>
std::vector<T> read_part(const H5File& file, const std::string& name, hsize_t first,
                         hsize_t count) {
  std::vector<T> values(count);
  if (count == 0) return values;
  const H5Handle dataset = open_dataset(file, name);
  const H5Handle in_file(H5Dget_space(dataset.id()), H5Sclose);
  const H5Handle in_memory(H5Screate_simple(1, &count, nullptr), H5Sclose);
  file.check(H5Sselect_hyperslab(in_file.id(), H5S_SELECT_SET, &first, nullptr, &count, nullptr),
             name);
  file.check(
      H5Dread(dataset.id(), h5_type<T>(), in_memory.id(), in_file.id(), H5P_DEFAULT, values.data()),
      name);
  return values;
}

}  // namespace

ResultFile read_result_file(const std::string& path) {
  ResultFile result(H5File::open(path));
  result.check_version();
  result.read_columns();
  result.index_samples();
  return result;
}

void ResultFile::check_version() const {
  if (has_attribute(file_, file_.id(), "format")) {
    throw InputError(
        fmt::format("{}: a case file; merge its folder first (pareto merge DIR -o "
                    "FILE.h5)",
                    path()));
  }
  if (!has_attribute(file_, file_.id(), "schema_version")) {
    throw InputError(fmt::format("{}: not a result file: it has no schema_version", path()));
  }
  const std::int64_t version = read_integer_attribute(file_, file_.id(), "schema_version");
  if (version != kResultSchemaVersion) {
    throw InputError(fmt::format("{}: schema version {}; this program reads {}", path(), version,
                                 kResultSchemaVersion));
  }
}

void ResultFile::read_columns() {
  for (const std::string& name : names_in(file_, file_.id())) {
    if (is_column(name)) table_.columns.push_back(read_column(file_, name));
  }
  sort_columns(table_.columns);
  const ColumnData* cases = table_.find("case");
  if (cases == nullptr || cases->column.type != ColumnType::kText) {
    throw InputError(fmt::format("{}: not a result file: it has no column 'case'", path()));
  }
  table_.rows = cases->texts.size();
  for (const ColumnData& data : table_.columns) {
    const Column* known = find_column(data.column.name);
    if (known != nullptr && known->type != data.column.type) {
      throw InputError(
          fmt::format("{}: column '{}' has another type than expected", path(), data.column.name));
    }
    if (length_of(data) != table_.rows) {
      throw InputError(fmt::format("{}: column '{}' has {} rows, 'case' has {}", path(),
                                   data.column.name, length_of(data), table_.rows));
    }
  }
}

void ResultFile::index_samples() {
  const std::vector<std::int64_t> sizes = read_dataset<std::int64_t>(file_, "row_size");
  const std::vector<hsize_t> stored = extents_of(file_, open_dataset(file_, "sample_time_s").id());
  first_sample_.assign(1, 0);
  for (const std::int64_t size : sizes) {
    first_sample_.push_back(first_sample_.back() + static_cast<std::uint64_t>(size));
  }
  const bool sound = std::all_of(sizes.begin(), sizes.end(), [](std::int64_t n) { return n >= 0; });
  if (!sound || sizes.size() != table_.rows || stored.size() != 1 ||
      stored[0] != first_sample_.back()) {
    throw InputError(fmt::format("{}: row_size does not add up to the samples", path()));
  }
}

SampleSet ResultFile::samples(std::size_t row) const {
  const hsize_t first = first_sample_.at(row);
  const hsize_t count = first_sample_.at(row + 1) - first;
  SampleSet set;
  set.seconds = read_part<double>(file_, "sample_time_s", first, count);
  set.block = read_part<std::int32_t>(file_, "sample_block", first, count);
  set.round = read_part<std::int32_t>(file_, "sample_round", first, count);
  set.process = read_part<std::int32_t>(file_, "sample_process", first, count);
  set.start_s = read_part<float>(file_, "sample_start_s", first, count);
  return set;
}

std::map<std::string, std::string> ResultFile::provenance(std::size_t row) const {
  const auto index = static_cast<std::size_t>(table_.at("provenance_index").integers.at(row));
  std::map<std::string, std::string> sections;
  constexpr std::string_view kPrefix = "provenance_";
  for (const std::string& name : names_in(file_, file_.id())) {
    if (!name.starts_with(kPrefix) || name == "provenance_index") continue;
    const std::vector<std::string> texts = read_strings(file_, name);
    if (index < texts.size()) sections[name.substr(kPrefix.size())] = texts[index];
  }
  return sections;
}

std::size_t ResultFile::find_case(const std::string& prefix) const {
  const std::vector<std::string>& cases = table_.at("case").texts;
  std::size_t found = rows();
  for (std::size_t row = 0; row < rows(); ++row) {
    if (!cases[row].starts_with(prefix)) continue;
    if (found != rows() && cases[found] != cases[row]) {
      throw InputError(fmt::format("{}: several cases begin with '{}'", path(), prefix));
    }
    found = row;
  }
  if (found == rows()) throw InputError(fmt::format("{}: no case '{}'", path(), prefix));
  return found;
}

nlohmann::json ResultFile::row_of(const std::string& prefix) const {
  return table_.row(find_case(prefix));
}

}  // namespace pareto
