#include "harness/result_writer.h"

#include <fmt/format.h>
#include <hdf5_hl.h>

#include <array>
#include <set>
#include <utility>

#include "harness/hash.h"
#include "harness/stored_samples.h"

namespace pareto {
namespace {

constexpr hsize_t kSampleChunk = 16384;
// Columns this long are compressed; below, a chunk's bookkeeping would outweigh the gain.
constexpr hsize_t kCompressFrom = 1024;
constexpr unsigned kDeflateLevel = 1;

// What netCDF-4 writes for a dimension that has no values of its own; the length stands behind it.
constexpr const char* kDimensionMark = "This is a netCDF dimension but not a netCDF variable.";

H5Handle dataset_creation(hsize_t chunk) {
  H5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  // Times of creation would make two files of the same content differ.
  H5Pset_obj_track_times(creation.id(), false);
  H5Pset_attr_creation_order(creation.id(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  if (chunk > 0) {
    H5Pset_chunk(creation.id(), 1, &chunk);
    H5Pset_shuffle(creation.id());
    H5Pset_deflate(creation.id(), kDeflateLevel);
  }
  return creation;
}

H5Handle make_dataset(const H5File& file, const std::string& name, hid_t type, hsize_t size,
                      const H5Handle& creation) {
  const H5Handle space(H5Screate_simple(1, &size, nullptr), H5Sclose);
  H5Handle dataset(H5Dcreate2(file.id(), name.c_str(), type, space.id(), H5P_DEFAULT, creation.id(),
                              H5P_DEFAULT),
                   H5Dclose);
  file.check(dataset.id(), name);
  return dataset;
}

void write_values(const H5File& file, const std::string& name, const H5Handle& dataset, hid_t type,
                  const void* values) {
  file.check(H5Dwrite(dataset.id(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), name);
}

void write_array_attribute(const H5File& file, const H5Handle& dataset, const char* name,
                           hid_t type, hsize_t count, const void* values) {
  const H5Handle space(H5Screate_simple(1, &count, nullptr), H5Sclose);
  const H5Handle attribute(
      H5Acreate2(dataset.id(), name, type, space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  file.check(attribute.id(), name);
  file.check(H5Awrite(attribute.id(), type, values), name);
}

void write_fill_attribute(const H5File& file, const H5Handle& dataset, hid_t type,
                          const void* value) {
  write_array_attribute(file, dataset, "_FillValue", type, 1, value);
}

void describe_flag(const H5File& file, const H5Handle& dataset, bool gaps) {
  constexpr std::array<std::int8_t, 2> kValues = {0, 1};
  write_array_attribute(file, dataset, "flag_values", H5T_NATIVE_INT8, kValues.size(),
                        kValues.data());
  write_attribute(file, dataset.id(), "flag_meanings", std::string("false true"));
  // xarray's mark of a boolean, which has no room for a missing value.
  if (!gaps) write_attribute(file, dataset.id(), "dtype", std::string("bool"));
}

H5Handle write_texts(const H5File& file, const std::string& name,
                     const std::vector<std::string>& texts) {
  const H5Handle type = h5_string_type();
  H5Handle dataset = make_dataset(file, name, type.id(), texts.size(), dataset_creation(0));
  std::vector<const char*> pointers;
  pointers.reserve(texts.size());
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  write_values(file, name, dataset, type.id(), static_cast<const void*>(pointers.data()));
  return dataset;
}

}  // namespace

ResultWriter::ResultWriter(const std::string& path)
    : path_(path), pending_(path), file_(H5File::create(pending_.temporary(), path)) {
  remove_stale_temporaries(std::filesystem::absolute(path_).parent_path());
  write_attribute(file_, file_.id(), "Conventions", std::string("CF-1.8"));
  write_attribute(file_, file_.id(), "schema_version", kResultSchemaVersion);
  write_attribute(file_, file_.id(), "title", std::string("Pareto results"));
  for (const Column& column : columns()) table_.columns.push_back({column, {}, {}, {}});
  table_.columns.push_back(
      {{"provenance_index", ColumnType::kInteger, "1", "Index along the dimension provenance"},
       {},
       {},
       {}});
  table_.columns.push_back(
      {{"row_size", ColumnType::kInteger, "1", "Samples stored of the case"}, {}, {}, {}});
  open_streams();
}

void ResultWriter::open_streams() {
  open_stream("sample_time_s", H5T_NATIVE_DOUBLE, sizeof(double), "s",
              "Time of one call, mean over sample_calls");
  open_stream("sample_calls", H5T_NATIVE_INT32, sizeof(std::int32_t), "1",
              "Calls behind the sample: back-to-back, or several samples of a long series");
  open_stream("sample_block", H5T_NATIVE_INT32, sizeof(std::int32_t), "1",
              "Block of the case, in its process");
  open_stream("sample_round", H5T_NATIVE_INT32, sizeof(std::int32_t), "1",
              "Round of the group, in its process");
  open_stream("sample_process", H5T_NATIVE_INT32, sizeof(std::int32_t), "1", "Process");
  open_stream("sample_start_s", H5T_NATIVE_FLOAT, sizeof(float), "s",
              "Start of the sample, from the group's first visit");
}

void ResultWriter::open_stream(const std::string& name, hid_t type, std::size_t bytes,
                               const char* unit, const char* long_name) {
  const H5Handle creation = dataset_creation(kSampleChunk);
  const hsize_t none = 0;
  const hsize_t unlimited = H5S_UNLIMITED;
  const H5Handle space(H5Screate_simple(1, &none, &unlimited), H5Sclose);
  H5Handle dataset(H5Dcreate2(file_.id(), name.c_str(), type, space.id(), H5P_DEFAULT,
                              creation.id(), H5P_DEFAULT),
                   H5Dclose);
  file_.check(dataset.id(), name);
  describe(dataset.id(), unit, long_name);
  streams_.emplace(name, Stream{std::move(dataset), type, bytes, {}, 0});
  stream_order_.push_back(name);
}

template <typename T>
void ResultWriter::append(const std::string& name, const std::vector<T>& values) {
  Stream& stream = streams_.at(name);
  const auto* raw = reinterpret_cast<const std::byte*>(values.data());
  stream.pending.insert(stream.pending.end(), raw, raw + values.size() * sizeof(T));
  if (stream.pending.size() >= kSampleChunk * stream.element_bytes) flush(stream);
}

void ResultWriter::flush(Stream& stream) {
  const hsize_t count = stream.pending.size() / stream.element_bytes;
  if (count == 0) return;
  const hsize_t size = stream.written + count;
  file_.check(H5Dset_extent(stream.dataset.id(), &size), "samples");
  const H5Handle in_file(H5Dget_space(stream.dataset.id()), H5Sclose);
  const H5Handle in_memory(H5Screate_simple(1, &count, nullptr), H5Sclose);
  H5Sselect_hyperslab(in_file.id(), H5S_SELECT_SET, &stream.written, nullptr, &count, nullptr);
  file_.check(H5Dwrite(stream.dataset.id(), stream.type, in_memory.id(), in_file.id(), H5P_DEFAULT,
                       stream.pending.data()),
              "samples");
  stream.written = size;
  stream.pending.clear();
}

std::int64_t ResultWriter::provenance_index(const std::map<std::string, std::string>& sections) {
  std::uint64_t hash = 0;
  for (const auto& [section, text] : sections) hash = hash_text(text, hash_text(section, hash));
  const auto [entry, added] =
      provenance_by_hash_.try_emplace(hash, static_cast<std::int64_t>(provenance_.size()));
  if (added) provenance_.push_back(sections);
  return entry->second;
}

void ResultWriter::add(const CaseRecord& record) {
  const std::int64_t batch = record.row.value("calls_per_sample", std::int64_t{1});
  const StoredSamples stored = condense(record.samples, batch, kMaxStoredSamples);
  for (ColumnData& data : table_.columns) {
    const std::string& name = data.column.name;
    if (name == "provenance_index") {
      data.append(provenance_index(record.provenance));
    } else if (name == "row_size") {
      data.append(stored.samples.size());
    } else {
      const auto found = record.row.find(name);
      data.append(found == record.row.end() ? nlohmann::json() : *found);
    }
  }
  append("sample_time_s", stored.samples.seconds);
  append("sample_calls", stored.calls);
  append("sample_block", stored.samples.block);
  append("sample_round", stored.samples.round);
  append("sample_process", stored.samples.process);
  append("sample_start_s", stored.samples.start_s);
  samples_ += stored.samples.size();
  ++table_.rows;
}

H5Handle ResultWriter::make_dimension(const std::string& name, hsize_t size) {
  // Never written to, hence without storage.
  H5Handle dataset = make_dataset(file_, name, H5T_IEEE_F32BE, size, dataset_creation(0));
  const std::string mark = fmt::format("{}{:10}", kDimensionMark, size);
  file_.check(H5DSset_scale(dataset.id(), mark.c_str()), name);
  return dataset;
}

void ResultWriter::describe(hid_t dataset, const std::string& unit, const std::string& long_name) {
  write_attribute(file_, dataset, "long_name", long_name);
  if (!unit.empty()) write_attribute(file_, dataset, "units", unit);
}

void ResultWriter::attach(hid_t dataset, const H5Handle& dimension, const std::string& name) {
  file_.check(H5DSattach_scale(dataset, dimension.id(), 0), name);
}

void ResultWriter::write_column(const ColumnData& data) {
  const std::string& name = data.column.name;
  const H5Handle creation = dataset_creation(table_.rows >= kCompressFrom ? table_.rows : 0);
  const bool gaps = [&] {
    for (std::size_t row = 0; row < table_.rows; ++row) {
      if (data.missing(row)) return true;
    }
    return false;
  }();
  H5Handle dataset;
  switch (data.column.type) {
    case ColumnType::kInteger:
      dataset = make_dataset(file_, name, H5T_NATIVE_INT64, table_.rows, creation);
      write_values(file_, name, dataset, H5T_NATIVE_INT64, data.integers.data());
      if (gaps) write_fill_attribute(file_, dataset, H5T_NATIVE_INT64, &kMissingInteger);
      break;
    case ColumnType::kBool:
      dataset = make_dataset(file_, name, H5T_NATIVE_INT8, table_.rows, creation);
      write_values(file_, name, dataset, H5T_NATIVE_INT64, data.integers.data());
      if (gaps) write_fill_attribute(file_, dataset, H5T_NATIVE_INT8, &kMissingBool);
      break;
    case ColumnType::kReal:
      dataset = make_dataset(file_, name, H5T_NATIVE_DOUBLE, table_.rows, creation);
      write_values(file_, name, dataset, H5T_NATIVE_DOUBLE, data.reals.data());
      break;
    case ColumnType::kText:
      dataset = write_texts(file_, name, data.texts);
      break;
  }
  describe(dataset.id(), data.column.unit, data.column.long_name);
  if (data.column.type == ColumnType::kBool) describe_flag(file_, dataset, gaps);
  if (name == "row_size") {
    write_attribute(file_, dataset.id(), "sample_dimension", std::string("sample"));
  }
}

void ResultWriter::write_columns() {
  const H5Handle run = make_dimension("run", table_.rows);
  for (const ColumnData& data : table_.columns) {
    write_column(data);
    attach(open_dataset(file_, data.column.name).id(), run, data.column.name);
  }
}

void ResultWriter::write_provenance() {
  std::set<std::string> sections;
  for (const auto& entry : provenance_) {
    for (const auto& [section, text] : entry) sections.insert(section);
  }
  const H5Handle dimension = make_dimension("provenance", provenance_.size());
  for (const std::string& section : sections) {
    std::vector<std::string> texts;
    for (const auto& entry : provenance_) {
      const auto found = entry.find(section);
      texts.push_back(found == entry.end() ? "" : found->second);
    }
    const std::string name = "provenance_" + section;
    const H5Handle dataset = write_texts(file_, name, texts);
    describe(dataset.id(), "",
             section == "experiment" ? "Experiment, TOML verbatim"
                                     : fmt::format("Provenance: {}", section));
    attach(dataset.id(), dimension, name);
  }
}

void ResultWriter::finish() {
  const H5Handle sample = make_dimension("sample", samples_);
  for (const std::string& name : stream_order_) {
    flush(streams_.at(name));
    attach(streams_.at(name).dataset.id(), sample, name);
  }
  streams_.clear();
  write_columns();
  write_provenance();
  file_.close();
  pending_.sync();
  pending_.publish_or_fail();
  sync_folder(std::filesystem::absolute(path_).parent_path());
}

}  // namespace pareto
