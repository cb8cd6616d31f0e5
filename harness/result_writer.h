// Writes a result file: columns over the dimension `run`, samples as a CF contiguous ragged array.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "harness/case_file.h"
#include "harness/durable_file.h"
#include "harness/hdf5.h"
#include "harness/result_table.h"

namespace pareto {

inline constexpr std::int64_t kResultSchemaVersion = 1;

/// Rows stay in memory until `finish`; samples go to the file as they come. Nothing is seen under
/// the path before `finish` has returned.
class ResultWriter {
 public:
  /// MachineError if the file cannot be made.
  explicit ResultWriter(const std::string& path);
  /// The row must fit the table of columns (see `row_mismatch`).
  void add(const CaseRecord& record);
  void finish();
  [[nodiscard]] std::size_t rows() const { return table_.rows; }
  [[nodiscard]] std::size_t samples() const { return samples_; }

 private:
  /// One growing dataset of samples and what has not been written to it yet.
  struct Stream {
    H5Handle dataset;
    hid_t type;
    std::size_t element_bytes;
    std::vector<std::byte> pending;
    hsize_t written = 0;
  };

  void open_streams();
  void open_stream(const std::string& name, hid_t type, std::size_t bytes, const char* unit,
                   const char* long_name);
  template <typename T>
  void append(const std::string& name, const std::vector<T>& values);
  void flush(Stream& stream);
  std::int64_t provenance_index(const std::map<std::string, std::string>& sections);
  void write_columns();
  void write_provenance();
  void write_column(const ColumnData& data);
  H5Handle make_dimension(const std::string& name, hsize_t size);
  void describe(hid_t dataset, const std::string& unit, const std::string& long_name);
  void attach(hid_t dataset, const H5Handle& dimension, const std::string& name);

  std::string path_;
  PendingFile pending_;
  H5File file_;
  ResultTable table_;
  std::map<std::string, Stream> streams_;
  std::vector<std::string> stream_order_;
  std::size_t samples_ = 0;
  std::unordered_map<std::uint64_t, std::int64_t> provenance_by_hash_;
  std::vector<std::map<std::string, std::string>> provenance_;
};

}  // namespace pareto
