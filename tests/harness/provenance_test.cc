#include "harness/provenance.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace pareto {
namespace {

TEST(Provenance, BuildNamesSourceCompilerAndLibraries) {
  add_library_version("Example", "1.2.3, core Test");
  const nlohmann::json build = build_provenance();
  EXPECT_EQ(build.at("build"), build_id());
  EXPECT_EQ(build_id().size(), 16U);
  EXPECT_FALSE(build.at("git_commit").get<std::string>().empty());
  EXPECT_FALSE(build.at("compiler").get<std::string>().empty());
  EXPECT_FALSE(build.at("flags").get<std::string>().empty());
  EXPECT_EQ(build.at("libraries").at("Example"), "1.2.3, core Test");
  EXPECT_TRUE(build.at("libraries").contains("HDF5"));
}

TEST(Provenance, RunNamesCommandAndSchedulerJob) {
  ::setenv("SLURM_ARRAY_TASK_ID", "17", 1);
  const nlohmann::json run = run_provenance();
  ::unsetenv("SLURM_ARRAY_TASK_ID");
  EXPECT_EQ(run.at("scheduler").at("SLURM_ARRAY_TASK_ID"), "17");
  EXPECT_FALSE(run.at("host").get<std::string>().empty());
  ASSERT_FALSE(run.at("command").empty());
  EXPECT_NE(run.at("command")[0].get<std::string>().find("test_"), std::string::npos);
}

}  // namespace
}  // namespace pareto
