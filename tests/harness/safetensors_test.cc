#include "harness/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "harness/errors.h"
#include "harness/tensor_file.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Safetensors : public ::testing::Test {
 protected:
  Safetensors()
      : path_(fs::temp_directory_path() /
              ("pareto_" + std::to_string(::getpid()) + ".safetensors")) {}
  ~Safetensors() override { fs::remove(path_); }

  void write(const std::string& header, const std::string& data) const {
    const std::uint64_t length = header.size();
    std::ofstream file(path_, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&length), sizeof(length));
    file << header << data;
  }
  [[nodiscard]] std::string refusal() const {
    try {
      read_safetensors(path_);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  }

  const std::string path_;
};

std::string bytes_of(std::initializer_list<int> bytes) { return {bytes.begin(), bytes.end()}; }

TEST_F(Safetensors, HalvesBecomeFp32AndIntegersStay) {
  // The two halves start at odd offsets on purpose: the format does not align.
  write(R"({"__metadata__":{"format":"pt"},)"
        R"("q":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},)"
        R"("h":{"dtype":"F16","shape":[2],"data_offsets":[1,5]},)"
        R"("b":{"dtype":"BF16","shape":[1,1],"data_offsets":[5,7]},)"
        R"("n":{"dtype":"I64","shape":[1],"data_offsets":[7,15]}})",
        bytes_of({0x80, 0x00, 0x3c, 0x01, 0x00, 0x80, 0xbf, 5, 0, 0, 0, 0, 0, 0, 0}));
  TensorMap read = read_tensors(path_);
  EXPECT_EQ(read["q"].value(0), -128);
  EXPECT_EQ(read["q"].dtype(), DType::kS8);
  EXPECT_THAT(read["h"].span<float>(), ElementsAre(1.0F, 0x1p-24F));
  EXPECT_THAT(read["b"].span<float>(), ElementsAre(-1.0F));
  EXPECT_EQ(read["b"].shape(), Shape({1, 1}));
  EXPECT_THAT(read["n"].span<std::int32_t>(), ElementsAre(5));
}

TEST_F(Safetensors, WhatIsWrittenComesBack) {
  TensorMap tensors;
  tensors["y"] = HostTensor(DType::kF32, {2, 2});
  tensors["y"].span<float>()[3] = 0.1F;
  tensors["acc"] = HostTensor(DType::kS32, {0, 4});
  write_tensors(path_, tensors);
  TensorMap read = read_tensors(path_);
  EXPECT_EQ(read["y"].span<float>()[3], 0.1F);
  EXPECT_EQ(read["acc"].shape(), Shape({0, 4}));
}

struct BadFile {
  std::string header;
  std::string data;
  std::string reason;
};

TEST_F(Safetensors, DamagedHeadersAreRefusedByName) {
  const std::vector<BadFile> bad = {
      {R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "1234", "'x'"},
      {R"({"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "1234", "'x'"},
      {R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", "1234", "'x'"},
      {R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "12345678", "begins at 4"},
      {R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "12345", "5 bytes of data"},
      {R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "123", "3 bytes of data"},
      {R"({"x":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", "", "'x'"},
      {R"({"x":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}})", "1234", "F99"},
      {R"({"x":{"dtype":"F32","shape":[1]}})", "1234", "data_offsets"},
      {R"({"x":1})", "1234", "'x'"},
      {R"([1,2])", "", "not a JSON object"},
      {R"({"x":)", "", "not a JSON object"},
  };
  for (const BadFile& file : bad) {
    write(file.header, file.data);
    EXPECT_THAT(refusal(), ::testing::AllOf(HasSubstr(path_), HasSubstr(file.reason)))
        << file.header;
  }
}

TEST_F(Safetensors, AHeaderLongerThanTheFileIsRefused) {
  std::ofstream(path_, std::ios::binary) << bytes_of({0, 1, 0, 0, 0, 0, 0, 0x7f}) << "{}";
  EXPECT_THAT(refusal(), HasSubstr("header of"));
  std::ofstream(path_, std::ios::binary) << "abc";
  EXPECT_THAT(refusal(), HasSubstr("shorter than 8 bytes"));
  fs::remove(path_);
  EXPECT_THAT(refusal(), HasSubstr("No such file or directory"));
}

}  // namespace
}  // namespace pareto
