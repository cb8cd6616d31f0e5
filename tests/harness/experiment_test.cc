#include "harness/experiment.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "harness/errors.h"
#include "harness/glob.h"
#include "harness/machine.h"
#include "harness/plan.h"
#include "harness/registry.h"
#include "harness/shard.h"
#include "harness/tensor_file.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;

class ExperimentTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::temp_directory_path() / ("pareto_experiment_" + std::to_string(getpid()) + "_" +
                                     testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& text, const std::string& name = "e.toml") {
    const fs::path path = folder_ / name;
    std::ofstream(path) << text;
    return path.string();
  }

  std::string error_of(const std::string& text, bool quick = false) {
    const std::string path = write(text);
    try {
      make_plan(read_experiment(path, quick), {});
    } catch (const InputError& error) {
      const std::string message = error.what();
      return message.substr(message.rfind('/') + 1);
    }
    return "no error";
  }

  fs::path folder_;
};

constexpr const char* kSweep = "[[sweep]]\nop = \"qgemm\"\nvariant = \"scalar\"\nN = 32\nK = 64\n";

TEST_F(ExperimentTest, ListsMultiply) {
  const std::string path = write(std::string(kSweep) +
                                 "M = [1, 2, 3]\nscheme = [\"fp32\", \"w8a8\"]\n"
                                 "distribution = [\"normal\", \"outlier\"]\ncache = [\"warm\", "
                                 "\"cold\"]\n");
  const Plan plan = make_plan(read_experiment(path, false), {});
  EXPECT_EQ(plan.cases(), 24U);
  // Schemes share a group; M, distribution and cache do not.
  EXPECT_EQ(plan.groups.size(), 12U);
  for (const Group& group : plan.groups) EXPECT_EQ(group.cases.size(), 2U);
}

TEST_F(ExperimentTest, ShapesAreRowsThatBelongTogether) {
  write("[[shape]]\nname = \"a\"\nN = 8\nK = 16\n[[shape]]\nname = \"b\"\nN = 24\nK = 40\n",
        "s.toml");
  const std::string path =
      write("[[sweep]]\nop = \"qgemm\"\nvariant = \"scalar\"\nshapes = \"s.toml\"\nM = [1, 2]\n");
  const Plan plan = make_plan(read_experiment(path, false), {});
  EXPECT_EQ(plan.cases(), 4U);
}

TEST_F(ExperimentTest, ListsOfFilesMultiplyToo) {
  write("[[shape]]\nN = 8\nK = 16\n", "s.toml");
  write("[[shape]]\nN = 24\nK = 40\n[[shape]]\nN = 8\nK = 8\n", "t.toml");
  const std::string head = "[[sweep]]\nop = \"qgemm\"\nvariant = \"scalar\"\n";
  const auto cases = [&](const std::string& text) {
    return make_plan(read_experiment(write(head + text), false), {}).cases();
  };
  EXPECT_EQ(cases("shapes = [\"s.toml\", \"t.toml\"]\nM = [1, 2]\n"), 6U);
  std::string files;
  for (const char* name : {"a.h5", "b.h5"}) {
    TensorMap tensors;
    tensors["x"] = HostTensor(DType::kF32, {2, 8});
    tensors["w"] = HostTensor(DType::kF32, {4, 8});
    tensors["x"].span<float>()[0] = static_cast<float>(files.size());
    const std::string path = (folder_ / name).string();
    write_tensors(path + ":/layer", tensors);
    files += (files.empty() ? "\"" : ", \"") + path + "\"";
  }
  EXPECT_EQ(cases("distribution = \"file\"\nfile = [" + files + "]\ntensor = \"layer\"\n"), 2U);
}

TEST_F(ExperimentTest, QuickReplacesKeysAndKeepsHashes) {
  const std::string text = std::string(kSweep) +
                           "M = [1, 16]\n[measure]\nbudget_s = 2\n[quick]\nM = [16]\nbudget_s = "
                           "0.25\nprecision = 0.05\n";
  const std::string path = write(text);
  const Experiment full = read_experiment(path, false);
  const Experiment quick = read_experiment(path, true);
  EXPECT_EQ(full.measure.budget_s, 2);
  EXPECT_EQ(quick.measure.budget_s, 0.25);
  const Plan quick_plan = make_plan(quick, {});
  ASSERT_EQ(quick_plan.cases(), 1U);
  const std::string hash = quick_plan.groups[0].cases[0].hash;
  bool found = false;
  for (const Group& group : make_plan(full, {}).groups) {
    for (const Case& subject : group.cases) found = found || subject.hash == hash;
  }
  EXPECT_TRUE(found);
}

TEST_F(ExperimentTest, GroupsTooBigForHalfTheMemoryAreSplitByWhatIsCompressed) {
  const std::string path = write(
      "[[sweep]]\nop = \"attention\"\nvariant = \"scalar\"\nseq_q = 1\nseq_kv = 64\n"
      "kv_dtype = [\"same\", \"int8\", \"fp8_e4m3\"]\n");
  const Experiment experiment = read_experiment(path, false);
  ASSERT_EQ(make_plan(experiment, {}).groups.size(), 1U);
  const Plan plan = make_plan(experiment, {.memory_bytes = 1024});
  ASSERT_EQ(plan.groups.size(), 2U);
  for (const Group& part : plan.groups) {
    EXPECT_EQ(part.parts, 2);
    ASSERT_EQ(part.cases.size(), 2U);
    EXPECT_NE(part.cases[0].problem.word("kv_dtype"), "same");
    EXPECT_EQ(part.cases[1].problem.word("kv_dtype"), "same");
  }
}

// Cold operand sets must be drawn and packed before anything is sampled.
TEST_F(ExperimentTest, EstimatesCountWhatACaseHoldsAndItsProcesses) {
  const auto estimated_s = [&](const std::string& cache, const std::string& measure) {
    const std::string path = write(std::string(kSweep) + "M = 4\ncache = \"" + cache +
                                   "\"\n[measure]\nbudget_s = 0.01\n" + measure);
    return make_plan(read_experiment(path, false), {}).estimated_s;
  };
  const double warm_s = estimated_s("warm", "");
  EXPECT_GT(estimated_s("cold", ""), warm_s + 1e-9 * this_machine().last_level_bytes());
  EXPECT_NEAR(estimated_s("warm", "processes = 3\n"), warm_s + 0.02, 1e-6);
}

TEST_F(ExperimentTest, GlobsChooseVariantsAndWords) {
  const std::string path =
      write("[[sweep]]\nop = \"qgemm\"\nvariant = \"scal*\"\nscheme = \"w4a16_*\"\nN = 8\nK = 8\n");
  const Plan plan = make_plan(read_experiment(path, false), {});
  EXPECT_EQ(plan.cases(), 3U);  // g128, g32, asym_g128
}

TEST_F(ExperimentTest, ExclamationMarksTakeVariantsAway) {
  const std::string shape = "N = 8\nK = 8\n";
  const std::string sweep = "[[sweep]]\nop = \"qgemm\"\n" + shape;
  // A library that is not there may be excluded: its absence is no error.
  const std::string path = write(sweep + "variant = [\"*\", \"!sca*\", \"!nowhere_*\"]\n");
  const Plan plan = make_plan(read_experiment(path, false), {});
  ASSERT_GT(plan.cases() + plan.skipped.size(), 0U);
  for (const Group& group : plan.groups) {
    for (const Case& subject : group.cases) EXPECT_NE(subject.variant->name, "scalar");
  }
  EXPECT_NE(error_of(sweep + "variant = [\"scalar\", \"!sca*\"]\n").find("no variant is left"),
            std::string::npos);
}

TEST_F(ExperimentTest, DoublingThreadsEndAtAllCores) {
  const Experiment experiment =
      read_experiment(write(std::string(kSweep) + "threads = [\"doubling\", \"all\"]\n"), false);
  const std::vector<int>& threads = experiment.sweeps.at(0).threads;
  EXPECT_EQ(threads.front(), 1);
  EXPECT_EQ(threads.back(), this_machine().cores);
  for (std::size_t i = 1; i < threads.size(); ++i) {
    EXPECT_GT(threads[i], threads[i - 1]);
    EXPECT_LE(threads[i], 2 * threads[i - 1]);
  }
}

TEST_F(ExperimentTest, ErrorsNameFileLineValueAndTheNearestWord) {
  EXPECT_EQ(error_of("[[sweep]]\nop = \"qgem\"\n"),
            "e.toml:2: unknown op 'qgem'; did you mean 'qgemm'?");
  EXPECT_EQ(error_of(std::string(kSweep) + "shceme = \"fp32\"\n"),
            "e.toml:6: unknown key 'shceme' for op qgemm; did you mean 'scheme'?");
  EXPECT_EQ(error_of(std::string(kSweep) + "scheme = \"w8a9\"\n"),
            "e.toml:6: scheme = 'w8a9' is not legal; did you mean 'w8a8'?");
  EXPECT_EQ(error_of("[[sweep]]\nop = \"qgemm\"\nvariant = \"scaler\"\n"),
            "e.toml:3: unknown variant 'scaler' of qgemm; did you mean 'scalar'?");
  EXPECT_EQ(error_of(std::string(kSweep) + "M = []\n"),
            "e.toml:6: M = [] is an empty list: nothing to sweep");
  EXPECT_NE(error_of(std::string(kSweep) + "M = -3\n").find("e.toml:6: M = '-3' is not legal"),
            std::string::npos);
  EXPECT_NE(error_of("title = \n").find("e.toml:1: not TOML"), std::string::npos);
  EXPECT_NE(error_of("title = \"x\"\n").find("no [[sweep]]"), std::string::npos);
  EXPECT_NE(error_of(std::string(kSweep) + "[measure]\nprecison = 0.1\n")
                .find("e.toml:7: unknown key 'precison' in [measure]; did you mean 'precision'?"),
            std::string::npos);
  EXPECT_NE(error_of(std::string(kSweep) + "[quick]\nMM = 3\n", true).find("e.toml:7: unknown key"),
            std::string::npos);
  EXPECT_NE(
      error_of(std::string(kSweep) + "[figure.f]\nkind = \"pie\"\n").find("unknown kind 'pie'"),
      std::string::npos);
  EXPECT_NE(error_of(std::string(kSweep) + "threads = 0\n").find("threads = '0'"),
            std::string::npos);
  EXPECT_NE(error_of(std::string(kSweep) + "distribution = \"file\"\n").find("file and tensor"),
            std::string::npos);
  EXPECT_EQ(error_of(std::string(kSweep) + "[quick]\nop = \"sparse\"\n"),
            "e.toml:7: op cannot be changed by [quick]");
}

TEST_F(ExperimentTest, UnknownKeysOfAShapesFileAreErrors) {
  write("titel = \"x\"\n[[shape]]\nN = 8\nK = 16\n", "s.toml");
  EXPECT_EQ(error_of("[[sweep]]\nop = \"qgemm\"\nshapes = \"s.toml\"\n"),
            "s.toml:1: unknown key 'titel'; known: shape");
}

TEST_F(ExperimentTest, CountsAreWholeNumbers) {
  for (const char* line : {"processes = 1.9", "min_blocks = 2.7", "seed = 1.5"}) {
    const std::string error = error_of(std::string(kSweep) + "[measure]\n" + line + "\n");
    EXPECT_NE(error.find("is not legal: a whole number from"), std::string::npos) << error;
  }
  EXPECT_EQ(error_of(std::string(kSweep) + "[measure]\nprocesses = 2\nmin_blocks = 8.0\n"),
            "no error");
}

TEST_F(ExperimentTest, QuickTooMustSayWhichFileToDrawFrom) {
  const std::string text =
      std::string(kSweep) + "distribution = \"normal\"\n[quick]\ndistribution = \"file\"\n";
  for (const bool quick : {false, true}) {
    EXPECT_EQ(error_of(text, quick),
              "e.toml:1: with [quick], distribution \"file\" needs the keys file and tensor");
  }
}

TEST_F(ExperimentTest, MissingFileIsOneError) {
  EXPECT_THROW(read_experiment((folder_ / "none.toml").string(), false), InputError);
  EXPECT_THROW(read_experiment(folder_.string(), false), InputError);
  EXPECT_THROW(read_experiment(std::string(300, 'n'), false), InputError);
  fs::create_symlink("loop.toml", folder_ / "loop.toml");
  EXPECT_THROW(read_experiment((folder_ / "loop.toml").string(), false), InputError);
  EXPECT_THROW(read_experiment("/dev/zero", false), InputError);
}

TEST_F(ExperimentTest, ShardsPartitionTheGroupsBeforeAnythingIsDropped) {
  const std::string path = write(std::string(kSweep) + "M = [1, 2, 3, 4, 5, 6, 7]\n");
  const Experiment experiment = read_experiment(path, false);
  std::set<std::string> seen;
  std::size_t total = 0;
  for (int shard = 1; shard <= 3; ++shard) {
    const Plan plan = make_plan(experiment, {.filter = "", .shard = shard, .shards = 3});
    for (const Group& group : plan.groups) seen.insert(group.hash);
    total += plan.groups.size();
  }
  EXPECT_EQ(total, 7U);
  EXPECT_EQ(seen.size(), 7U);
}

TEST_F(ExperimentTest, CasesThatCannotRunCarryTheirReason) {
  const int beyond = this_machine().cores + 1;
  const std::string path =
      write(std::string(kSweep) + "threads = [1, " + std::to_string(beyond) + "]\n");
  const Plan plan = make_plan(read_experiment(path, false), {});
  ASSERT_EQ(plan.skipped.size(), 1U);
  EXPECT_NE(plan.skipped[0].reason.find("cores of this machine"), std::string::npos);
  EXPECT_EQ(plan.cases(), 1U);
}

TEST_F(ExperimentTest, CallsFarBeyondTheBudgetAreSkipped) {
  const std::string path = write(
      "[[sweep]]\nop = \"qgemm\"\nvariant = \"scalar\"\nM = 4096\nN = 16384\nK = 16384\n"
      "[measure]\nbudget_s = 0.001\n");
  const Plan plan = make_plan(read_experiment(path, false), {});
  ASSERT_EQ(plan.skipped.size(), 1U);
  EXPECT_NE(plan.skipped[0].reason.find("budget_s"), std::string::npos);
}

TEST(ParseShard, AcceptsOneToN) {
  PlanOptions options;
  parse_shard("2/8", options);
  EXPECT_EQ(options.shard, 2);
  EXPECT_EQ(options.shards, 8);
  for (const char* wrong : {"3/2", "0/2", "1", "a/b", "1/", "/2", "-1/2", "1/2x"}) {
    EXPECT_THROW(parse_shard(wrong, options), InputError) << wrong;
  }
}

TEST(ParseShard, AutoReadsTheScheduler) {
  setenv("SLURM_ARRAY_TASK_ID", "7", 1);
  setenv("SLURM_ARRAY_TASK_MIN", "5", 1);
  setenv("SLURM_ARRAY_TASK_COUNT", "4", 1);
  PlanOptions options;
  EXPECT_EQ(parse_shard("auto", options), "Slurm array");
  for (const char* name :
       {"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT"}) {
    unsetenv(name);
  }
  EXPECT_EQ(options.shard, 3);
  EXPECT_EQ(options.shards, 4);
}

// sbatch --array=1-10:3
TEST(ParseShard, AutoCountsTheStepsOfAnArray) {
  setenv("SLURM_ARRAY_TASK_MIN", "1", 1);
  setenv("SLURM_ARRAY_TASK_STEP", "3", 1);
  setenv("SLURM_ARRAY_TASK_COUNT", "4", 1);
  PlanOptions options;
  for (int task = 0; task < 4; ++task) {
    setenv("SLURM_ARRAY_TASK_ID", std::to_string(1 + 3 * task).c_str(), 1);
    parse_shard("auto", options);
    EXPECT_EQ(options.shard, task + 1);
    EXPECT_EQ(options.shards, 4);
  }
  setenv("SLURM_ARRAY_TASK_ID", "5", 1);
  EXPECT_THROW(parse_shard("auto", options), InputError);
  for (const char* name : {"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP",
                           "SLURM_ARRAY_TASK_COUNT"}) {
    unsetenv(name);
  }
}

TEST(ParseShard, AutoSaysThatThereIsNoScheduler) {
  for (const char* name :
       {"SLURM_ARRAY_TASK_ID", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"}) {
    unsetenv(name);
  }
  PlanOptions options;
  EXPECT_EQ(parse_shard("auto", options), "");
  EXPECT_EQ(options.shards, 1);
}

TEST(MatchesGlob, StarsAndQuestionMarks) {
  EXPECT_TRUE(matches_glob("*", ""));
  EXPECT_TRUE(matches_glob("avx*_f?2", "avx512_f32"));
  EXPECT_TRUE(matches_glob("a*b*c", "aXbYbZc"));
  EXPECT_FALSE(matches_glob("a*b", "abc"));
  EXPECT_FALSE(matches_glob("?", ""));
}

TEST(Case, HashIgnoresWhatTheWordsLeaveOut) {
  Case subject;
  subject.variant = &find_variant(find_op("qgemm"), "scalar");
  subject.problem = Problem(find_op("qgemm"));
  identify(subject);
  Case named = subject;
  named.shape = "q_proj";
  named.source.file = "elsewhere.h5";
  identify(named);
  EXPECT_EQ(named.hash, subject.hash);
  Case scheme = subject;
  scheme.problem.set("scheme", std::string("w8a8"));
  identify(scheme);
  EXPECT_NE(scheme.hash, subject.hash);
  EXPECT_EQ(scheme.group, subject.group);
  Case cold = subject;
  cold.cache = "cold";
  identify(cold);
  EXPECT_NE(cold.group, subject.group);
}

}  // namespace
}  // namespace pareto
