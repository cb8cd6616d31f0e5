#include "harness/cuda_library.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "harness/errors.h"

namespace pareto {
namespace {

TEST(CudaLibrary, OneThatIsNowhereIsNamed) {
  EXPECT_EQ(cuda_library_missing("libpareto-nowhere.so.1"), "libpareto-nowhere.so.1 not found");
  EXPECT_THROW(open_cuda_library("libpareto-nowhere.so.1"), CannotRunError);
}

TEST(CudaLibrary, TheOverrideIsLookedAtFirst) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "pareto_cuda_library";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "libpareto-somewhere.so.1") << "not a library";
  setenv("PARETO_CUDA_LIBRARIES", folder.c_str(), 1);
  EXPECT_EQ(find_cuda_library("libpareto-somewhere.so.1"),
            (folder / "libpareto-somewhere.so.1").string());
  EXPECT_THROW(open_cuda_library("libpareto-somewhere.so.1"), CannotRunError);
  unsetenv("PARETO_CUDA_LIBRARIES");
  std::filesystem::remove_all(folder);
}

TEST(CudaLibrary, AFunctionThatIsNotThereIsNamed) {
  void* library = open_cuda_library("libm.so.6");
  EXPECT_NE(cuda_symbol(library, "cos"), nullptr);
  EXPECT_THROW(cuda_symbol(library, "pareto_no_such_function"), CannotRunError);
}

TEST(CudaLibrary, AVariantIsListedWithTheFirstThingThatItLacks) {
  EXPECT_EQ(missing_cuda_library_of("toy/needs_nothing"), "");
  const NeedsCudaLibrary there("toy/needs_two", "libm.so.6");
  EXPECT_EQ(missing_cuda_library_of("toy/needs_two"), "");
  const NeedsCudaLibrary nowhere("toy/needs_two", "libpareto-nowhere.so.1");
  EXPECT_EQ(missing_cuda_library_of("toy/needs_two"), "libpareto-nowhere.so.1 not found");
  const BuiltWithout without("toy/needs_two", "its header");
  EXPECT_EQ(missing_cuda_library_of("toy/needs_two"), "built without its header");
}

}  // namespace
}  // namespace pareto
