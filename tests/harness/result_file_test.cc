#include "harness/result_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "harness/errors.h"
#include "harness/merge.h"
#include "tests/harness/case_records.h"

namespace pareto {
namespace {

using ::testing::HasSubstr;

class ResultFileTest : public ::testing::Test {
 protected:
  ResultFileTest() : path_(scratch_.path() / "r.h5") {
    const std::vector<CaseRecord> records = {make_record(0), make_record(1), make_record(2, 0)};
    write_case_files(scratch_.path(), records);
    const std::vector<std::filesystem::path> folders = {scratch_.path()};
    merge_cases(folders, path_, {});
  }
  // The message with which `path` is refused.
  static std::string refusal(const std::string& path) {
    try {
      read_result_file(path);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  }
  // The file open for writing through the library, as a stranger would change it.
  [[nodiscard]] H5Handle open_for_writing() const {
    return {H5Fopen(path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose};
  }

  const ScratchFolder scratch_{"result_file"};
  const std::string path_;
};

TEST_F(ResultFileTest, ColumnsComeInTheOrderOfTheTable) {
  const ResultFile file = read_result_file(path_);
  ASSERT_EQ(file.rows(), 3U);
  EXPECT_EQ(file.table().columns.front().column.name, "case");
  EXPECT_EQ(file.table().columns.back().column.name, "provenance_index");
  for (const Column& column : columns()) {
    const ColumnData& data = file.table().at(column.name);
    EXPECT_EQ(data.column.type, column.type) << column.name;
    EXPECT_EQ(data.column.unit, column.unit) << column.name;
  }
}

TEST_F(ResultFileTest, MissingValuesAreNull) {
  const ResultFile file = read_result_file(path_);
  const nlohmann::json row = file.row_of(case_hash(1));
  EXPECT_EQ(row.at("threads"), 2);
  EXPECT_EQ(row.at("suspect"), true);
  EXPECT_TRUE(row.at("energy_j").is_null());
  EXPECT_TRUE(row.at("n_compared").is_null());
  EXPECT_TRUE(row.at("unstable").is_null());
  EXPECT_TRUE(row.at("library").is_null());
}

TEST_F(ResultFileTest, CasesAreFoundByABeginning) {
  const ResultFile file = read_result_file(path_);
  EXPECT_EQ(file.table().text("case", file.find_case(case_hash(2).substr(0, 9))), case_hash(2));
  EXPECT_THROW((void)file.find_case("zzz"), InputError);
  EXPECT_THROW((void)file.find_case(""), InputError) << "every case begins so";
}

TEST_F(ResultFileTest, AnotherSchemaVersionIsNamed) {
  {
    const H5Handle file = open_for_writing();
    const std::int64_t seven = 7;
    const H5Handle attribute(H5Aopen(file.id(), "schema_version", H5P_DEFAULT), H5Aclose);
    ASSERT_GE(H5Awrite(attribute.id(), H5T_NATIVE_INT64, &seven), 0);
  }
  EXPECT_EQ(refusal(path_), path_ + ": schema version 7; this program reads 1");
}

TEST_F(ResultFileTest, ForeignFilesAreNamed) {
  const std::string other = scratch_.path() / "other.h5";
  std::ofstream(other) << "hello";
  EXPECT_EQ(refusal(other), other + ": not an HDF5 file");
  H5File empty = H5File::create(other);
  empty.close();
  EXPECT_THAT(refusal(other), HasSubstr("no schema_version"));
  EXPECT_THAT(refusal(case_path(scratch_.path(), case_hash(0))), HasSubstr("pareto merge"));
  EXPECT_THAT(refusal("/none.h5"), HasSubstr("No such file"));
}

TEST_F(ResultFileTest, ColumnsThatDisagreeAreRefused) {
  {
    const H5Handle file = open_for_writing();
    H5Ldelete(file.id(), "threads", H5P_DEFAULT);
    const hsize_t one = 1;
    const H5Handle space(H5Screate_simple(1, &one, nullptr), H5Sclose);
    const H5Handle dataset(H5Dcreate2(file.id(), "threads", H5T_NATIVE_INT64, space.id(),
                                      H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                           H5Dclose);
    ASSERT_GE(dataset.id(), 0);
  }
  EXPECT_THAT(refusal(path_), HasSubstr("column 'threads' has 1 rows, 'case' has 3"));
}

}  // namespace
}  // namespace pareto
