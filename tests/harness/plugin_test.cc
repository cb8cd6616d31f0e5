#include "harness/plugin.h"

#include <gtest/gtest.h>

#include <fstream>

namespace pareto {
namespace {

TEST(Plugin, NamesTheLibraryThatIsNotHere) {
  EXPECT_EQ(missing_library("libc.so.6"), "");
  EXPECT_EQ(missing_library("libpareto_nowhere.so.7"), "libpareto_nowhere.so.7");
  EXPECT_EQ(missing_library("lib'; exit 0; '.so"), "lib'; exit 0; '.so");
}

TEST(Plugin, WhatIsNoLibraryIsNotCalledMissing) {
  const std::string path = testing::TempDir() + "/no_library.so";
  std::ofstream(path) << "text";
  EXPECT_EQ(missing_library(path), "");  // opening it says better what is wrong
}

}  // namespace
}  // namespace pareto
