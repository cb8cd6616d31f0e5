#include "harness/hdf5.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "harness/errors.h"
#include "harness/tensor_file.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Hdf5 : public ::testing::Test {
 protected:
  Hdf5() : folder_(fs::temp_directory_path() / ("pareto_hdf5_" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~Hdf5() override { fs::remove_all(folder_); }
  [[nodiscard]] std::string path(const std::string& name) const { return folder_ / name; }

  // The message of the InputError that reading `spec` throws.
  static std::string refusal(const std::string& spec) {
    try {
      read_tensors(spec);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  }

  const fs::path folder_;
};

template <typename T>
void put(const H5File& file, const std::string& name, std::vector<hsize_t> extents,
         std::vector<T> values) {
  write_dataset(file, name, std::span<const hsize_t>(extents), std::span<const T>(values));
}

// A dataset stored as `type`, converted by the library from doubles.
void put_as(const H5File& file, const std::string& name, hid_t type, std::vector<double> values) {
  const hsize_t extent = values.size();
  const H5Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
  const H5Handle dataset(
      H5Dcreate2(file.id(), name.c_str(), type, space.id(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
      H5Dclose);
  ASSERT_GE(H5Dwrite(dataset.id(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
            0);
}

H5Handle half_type() {
  H5Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  H5Tset_fields(type.id(), 15, 10, 5, 0, 10);
  H5Tset_size(type.id(), 2);
  H5Tset_ebias(type.id(), 15);
  return type;
}

TEST_F(Hdf5, TensorsComeBackWithTypeShapeAndBits) {
  TensorMap written;
  HostTensor x(DType::kF32, {2, 3});
  for (int i = 0; i < 6; ++i) x.span<float>()[i] = 0.1F * static_cast<float>(i);
  x.span<float>()[4] = -std::numeric_limits<float>::infinity();
  HostTensor q(DType::kS8, {3});
  q.span<std::int8_t>()[0] = -128;
  HostTensor lengths(DType::kS32, {1});
  lengths.span<std::int32_t>()[0] = 1 << 30;
  written["x"] = x;
  written["q"] = q;
  written["lengths"] = lengths;
  write_tensors(path("t.h5") + ":/layer0/query", written);
  TensorMap read = read_tensors(path("t.h5") + ":/layer0/query");
  ASSERT_EQ(read.size(), 3U);
  EXPECT_EQ(read["x"].shape(), Shape({2, 3}));
  for (int i = 0; i < 6; ++i) EXPECT_EQ(read["x"].span<float>()[i], x.span<float>()[i]);
  EXPECT_EQ(read["q"].dtype(), DType::kS8);
  EXPECT_EQ(read["q"].value(0), -128);
  EXPECT_EQ(read["lengths"].value(0), 1 << 30);
}

TEST_F(Hdf5, FloatsOfEveryWidthAndByteOrderBecomeFp32) {
  H5File file = H5File::create(path("f.h5"));
  const double just_below_overflow = 0x1.fffffeffp127;  // rounds to the largest fp32
  put_as(file, "f64", H5T_IEEE_F64LE, {0.1, just_below_overflow, INFINITY});
  put_as(file, "big_endian", H5T_IEEE_F32BE, {0.25, -3});
  put_as(file, "f16", half_type().id(), {0x1p-24, 65504, INFINITY, NAN});
  file.close();
  TensorMap read = read_tensors(path("f.h5"));
  EXPECT_THAT(read["f64"].span<float>(),
              ElementsAre(0.1F, std::numeric_limits<float>::max(), INFINITY));
  EXPECT_THAT(read["big_endian"].span<float>(), ElementsAre(0.25F, -3.0F));
  const std::span<float> halves = read["f16"].span<float>();
  EXPECT_EQ(halves[0], 0x1p-24F);
  EXPECT_EQ(halves[1], 65504.0F);
  EXPECT_EQ(halves[2], INFINITY);
  EXPECT_TRUE(std::isnan(halves[3]));
  H5File beyond = H5File::create(path("beyond.h5"));
  put_as(beyond, "x", H5T_IEEE_F64LE, {1, 1e300});
  beyond.close();
  EXPECT_THROW(read_tensors(path("beyond.h5")), InputError);
}

TEST_F(Hdf5, UnsignedHalvesMarkedBf16AreFloats) {
  H5File file = H5File::create(path("b.h5"));
  put_as(file, "w", H5T_STD_U16LE, {0x3f80, 0xc000});
  write_attribute(file, open_dataset(file, "w").id(), "dtype", std::string("bf16"));
  put_as(file, "plain", H5T_STD_U16LE, {0x3f80});
  file.close();
  TensorMap read = read_tensors(path("b.h5"));
  EXPECT_THAT(read["w"].span<float>(), ElementsAre(1.0F, -2.0F));
  EXPECT_EQ(read["plain"].dtype(), DType::kS32);
  EXPECT_EQ(read["plain"].value(0), 0x3f80);
}

TEST_F(Hdf5, WideIntegersMustFitInt32) {
  H5File file = H5File::create(path("i.h5"));
  put<std::int64_t>(file, "fits/lengths", {2}, {-7, 2147483647});
  put<std::int64_t>(file, "too_big/lengths", {1}, {2147483648});
  file.close();
  EXPECT_EQ(read_tensors(path("i.h5") + ":/fits")["lengths"].value(1), 2147483647);
  EXPECT_THAT(refusal(path("i.h5") + ":/too_big"),
              ::testing::AllOf(HasSubstr("/too_big/lengths"), HasSubstr("2147483648")));
}

TEST_F(Hdf5, EmptyAndScalarDatasetsAreTensors) {
  H5File file = H5File::create(path("e.h5"));
  put<float>(file, "x", {0, 8}, {});
  put<float>(file, "scale", {}, {2.5F});
  file.close();
  TensorMap read = read_tensors(path("e.h5"));
  EXPECT_EQ(read["x"].shape(), Shape({0, 8}));
  EXPECT_TRUE(read["x"].present());
  EXPECT_EQ(read["scale"].shape(), Shape({1}));
  EXPECT_EQ(read["scale"].value(0), 2.5);
}

TEST_F(Hdf5, WhatIsNoTensorIsRefusedByName) {
  H5File file = H5File::create(path("t.h5"));
  write_text(file, "words/note", "hello");
  put<float>(file, "deep/x", {1, 1, 1, 1, 1, 1}, {1});
  file.close();
  EXPECT_THAT(refusal(path("t.h5") + ":/words"), HasSubstr("t.h5: dataset '/words/note'"));
  EXPECT_THAT(refusal(path("t.h5") + ":/deep"), HasSubstr("'/deep/x'"));
  EXPECT_THAT(refusal(path("t.h5") + ":/absent/group"), HasSubstr("no group '/absent/group'"));
}

TEST_F(Hdf5, BadFilesAreOneLine) {
  std::ofstream(path("text.h5")) << "hello";
  EXPECT_EQ(refusal(path("text.h5")), path("text.h5") + ": not an HDF5 file");
  EXPECT_EQ(refusal(path("none.h5")), path("none.h5") + ": No such file or directory");
  EXPECT_THAT(refusal(folder_), HasSubstr("Is a directory"));
  H5File file = H5File::create(path("cut.h5"));
  put<float>(file, "x", {1000}, std::vector<float>(1000));
  file.close();
  fs::resize_file(path("cut.h5"), fs::file_size(path("cut.h5")) / 2);
  EXPECT_THAT(refusal(path("cut.h5")), HasSubstr("truncated"));
}

TEST_F(Hdf5, AnUnwritableFolderIsAMachineError) {
  const TensorMap nothing;
  try {
    write_tensors(path("absent/y.h5"), nothing);
    FAIL() << "wrote into a folder that does not exist";
  } catch (const MachineError& error) {
    EXPECT_THAT(error.what(), HasSubstr("No such file or directory"));
  }
}

// Exits with the code of the error that writing to a full disk throws.
[[noreturn]] void write_to_full_disk() {
  try {
    H5File file = H5File::create("/dev/full");
    put<float>(file, "x", {1000}, std::vector<float>(1000));
    file.close();
  } catch (const Error& error) {
    ::_exit(static_cast<int>(error.code()));
  }
  ::_exit(0);
}

TEST_F(Hdf5, AFullDiskIsAMachineError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  // In a process of its own: after a failed flush the library itself leaks a buffer.
  EXPECT_EXIT(write_to_full_disk(),
              ::testing::ExitedWithCode(static_cast<int>(ExitCode::kMachineFailed)), "");
}

TEST_F(Hdf5, ImageIsTheWholeFile) {
  H5File file = H5File::create_in_memory("image");
  put<double>(file, "/g/x", {2}, {1.5, 2.5});
  write_attribute(file, file.id(), "title", std::string("µs"));
  const std::vector<std::byte> bytes = file.image();
  const H5File copy = H5File::open_image(bytes, "image");
  EXPECT_THAT(read_dataset<double>(copy, "g/x"), ElementsAre(1.5, 2.5));
  EXPECT_EQ(read_text_attribute(copy, copy.id(), "title"), "µs");
  EXPECT_THROW(H5File::open_image(std::span(bytes).first(bytes.size() / 2), "cut"), InputError);
}

}  // namespace
}  // namespace pareto
