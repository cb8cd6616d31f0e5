#include "harness/matrix_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "harness/errors.h"
#include "harness/tensor_file.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class MatrixFile : public ::testing::Test {
 protected:
  MatrixFile() { fs::create_directories(folder_); }
  ~MatrixFile() override { fs::remove_all(folder_); }

  [[nodiscard]] std::string write(const std::string& name, const std::string& text) const {
    const std::string path = (folder_ / name).string();
    std::ofstream(path) << text;
    return path;
  }
  [[nodiscard]] std::vector<float> matrix(const std::string& text) const {
    TensorMap tensors = read_matrix_file(write("a.mtx", text));
    const std::span<float> values = tensors.at("matrix").span<float>();
    return {values.begin(), values.end()};
  }
  [[nodiscard]] std::vector<int> pattern(const std::string& text) const {
    TensorMap tensors = read_matrix_file(write("a.smtx", text));
    const std::span<std::uint8_t> values = tensors.at("pattern").span<std::uint8_t>();
    return {values.begin(), values.end()};
  }
  [[nodiscard]] std::string refusal(const std::string& name, const std::string& text) const {
    try {
      read_matrix_file(write(name, text));
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  }

  const fs::path folder_ = fs::temp_directory_path() / ("pareto_mtx_" + std::to_string(::getpid()));
};

TEST_F(MatrixFile, UnsortedEntriesFindTheirPlaceAndDuplicatesAreSummed) {
  EXPECT_THAT(matrix("%%MatrixMarket matrix coordinate real general\n% comment\n\n2 3 4\n"
                     "2 3 -1.5e1\n1 1 +2\n2 1 0.25\n1 1 0.5\n"),
              ElementsAre(2.5F, 0, 0, 0.25F, 0, -15));
}

TEST_F(MatrixFile, SymmetricAndSkewMatricesAreMirrored) {
  EXPECT_THAT(matrix("%%MatrixMarket matrix coordinate integer symmetric\n2 2 2\n1 1 3\n2 1 4\n"),
              ElementsAre(3, 4, 4, 0));
  EXPECT_THAT(matrix("%%matrixmarket MATRIX coordinate real skew-symmetric\r\n2 2 1\r\n2 1 4\r\n"),
              ElementsAre(0, -4, 4, 0));
}

TEST_F(MatrixFile, EntriesOfAPatternAreOne) {
  EXPECT_THAT(matrix("%%MatrixMarket matrix coordinate pattern general\n1 3 2\n1 3\n1 1\n"),
              ElementsAre(1, 0, 1));
}

TEST_F(MatrixFile, AnEmptyMatrixIsRead) {
  EXPECT_THAT(matrix("%%MatrixMarket matrix coordinate real general\n0 3 0\n"), IsEmpty());
}

TEST_F(MatrixFile, RefusalsNameFileAndLine) {
  const std::string banner = "%%MatrixMarket matrix coordinate real general\n";
  EXPECT_THAT(refusal("a.mtx", banner + "2 2 1\n3 1 1\n"),
              EndsWith("a.mtx:3: row = 3 is outside 1 … 2"));
  EXPECT_THAT(refusal("a.mtx", banner + "2 2 1\n1 0 1\n"), HasSubstr(":3: column = 0"));
  EXPECT_THAT(refusal("a.mtx", banner + "2 2 1\n1 1 1x\n"), HasSubstr(":3: value = '1x'"));
  EXPECT_THAT(refusal("a.mtx", banner + "2 2 1\n1 1\n"), HasSubstr(":3: value is missing"));
  EXPECT_THAT(refusal("a.mtx", banner + "2 2 2\n1 1 1\n"), HasSubstr("ends after 1 of 2"));
  EXPECT_THAT(refusal("a.mtx", banner + "2 2 1\n1 1 1\n1 2 1\n"), HasSubstr(":4: more than the 1"));
  EXPECT_THAT(refusal("a.mtx", banner + "9000000000 9000000000 0\n"), HasSubstr(":2: "));
  EXPECT_THAT(refusal("a.mtx", "%%MatrixMarket matrix coordinate complex general\n"),
              HasSubstr(":1: field 'complex'"));
  EXPECT_THAT(refusal("a.mtx", "%%MatrixMarket matrix array real general\n"),
              HasSubstr(":1: layout 'array'"));
  EXPECT_THAT(refusal("a.mtx", "%%MatrixMarket matrix coordinate real symmetric\n2 2 1\n1 2 3\n"),
              HasSubstr(":3: row = 1, column = 2: a symmetric matrix stores its lower triangle"));
  EXPECT_THAT(refusal("a.mtx", ""), HasSubstr("ends before its first line"));
}

TEST_F(MatrixFile, SmtxHoldsAPattern) {
  EXPECT_THAT(pattern("2, 3, 3\n0 2 3 \n2 0 1 \n"), ElementsAre(1, 0, 1, 0, 1, 0));
  EXPECT_THAT(pattern("2, 2, 0\n0 0 0\n\n"), ElementsAre(0, 0, 0, 0));
}

TEST_F(MatrixFile, BrokenSmtxIsRefused) {
  EXPECT_THAT(refusal("a.smtx", "1, 3, 2\n0 2\n1 1\n"),
              HasSubstr(":3: row 0 holds column 1 twice"));
  EXPECT_THAT(refusal("a.smtx", "1, 3, 2\n0 2\n1 3\n"), HasSubstr(":3: column index 3 of row 0"));
  EXPECT_THAT(refusal("a.smtx", "2, 3, 2\n0 2 1\n1 2\n"),
              HasSubstr(":2: row offset 2 is 1 behind 2"));
  EXPECT_THAT(refusal("a.smtx", "2, 3, 2\n0 1 3\n1 2\n"),
              HasSubstr(":2: the last row offset is 3"));
  EXPECT_THAT(refusal("a.smtx", "1, 3, 2\n0 2\n1\n"), HasSubstr(":3: a column index is missing"));
  EXPECT_THAT(refusal("a.smtx", "1, 3, 2\n0 2\n1 2 0\n"), HasSubstr(":3: '0' stands behind"));
}

TEST_F(MatrixFile, IsReadLikeOtherTensorFiles) {
  const std::string path = write("w.smtx", "1, 2, 1\n0 1\n1\n");
  EXPECT_EQ(read_tensors(path).count("pattern"), 1U);
  EXPECT_EQ(read_tensors(folder_.string() + ":/w.smtx").count("pattern"), 1U);
  EXPECT_THROW(read_tensors(path + ":/group"), InputError);
  const std::string other =
      write("w.mtx", "%%MatrixMarket matrix coordinate real general\n1 1 1\n1 1 1\n");
  EXPECT_EQ(read_tensors(path + "," + other).size(), 2U);
  EXPECT_THROW(read_tensors(path + "," + path), InputError);
}

}  // namespace
}  // namespace pareto
