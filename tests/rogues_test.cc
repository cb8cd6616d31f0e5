// One cheating variant for each known trick: the harness refuses each by the name of its trick.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "harness/case.h"
#include "harness/ceilings.h"
#include "harness/device.h"
#include "harness/errors.h"
#include "harness/registry.h"
#include "harness/runner.h"
#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

// Small enough to be called thousands of times, large enough that remembering pays; one page per
// operand, which is what aliasing needs.
Problem timed_problem(std::int64_t M = 16, std::int64_t N = 64, std::int64_t K = 64) {
  Problem problem(find_op("qgemm"));
  problem.set("M", M).set("N", N).set("K", K);
  problem.op().complete(problem);
  return problem;
}

/// Check, timing and last checks of one variant, as `pareto time` does them.
CaseRecord record_of(const std::string& name, const std::string& cache,
                     const Problem& problem = timed_problem(), const Ceilings& ceilings = {}) {
  Case subject;
  subject.variant = &find_variant(find_op("qgemm"), name);
  subject.problem = problem;
  subject.cache = cache;
  identify(subject);
  Group group;
  group.hash = subject.group;
  group.cases = {subject};
  const MeasureSettings measure{.precision = 0.05, .budget_s = 4, .min_blocks = 256};
  return measure_isolated(group, measure, RunOptions{}, ceilings, {}).at(0);
}

struct Trick {
  const char* rogue;
  const char* named;  ///< what the refusal must say
};

std::ostream& operator<<(std::ostream& out, const Trick& trick) { return out << trick.rogue; }

class Rogues : public testing::TestWithParam<Trick> {};

TEST_P(Rogues, IsRefusedByName) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  if (GetParam().named == std::string("it started a process")) {
    GTEST_SKIP() << "sanitizers start processes themselves";
  }
#endif
#ifdef __SANITIZE_THREAD__
  // The detector starts a thread of its own with a program's first, and that one is seen.
  if (GetParam().rogue == std::string("rogue_brings_threads")) GTEST_SKIP() << "thread sanitizer";
#endif
  const CaseRecord record = record_of(GetParam().rogue, "warm");
  const std::string message = record.row.at("check_message");
  EXPECT_EQ(record.row.at("check_status"), "fail") << message;
  EXPECT_NE(message.find(GetParam().named), std::string::npos) << message;
  EXPECT_EQ(record.samples.size(), 0U) << "a variant of ours that fails must not keep its times";
}

INSTANTIATE_TEST_SUITE_P(
    Gallery, Rogues,
    testing::Values(
        Trick{"rogue_remembers_results", "result cached between calls"},
        Trick{"rogue_remembers_address", "result cached between calls"},
        Trick{"rogue_remembers_a_fingerprint", "result cached between calls"},
        Trick{"rogue_remembers_in_quick_succession", "result cached between calls"},
        Trick{"rogue_remembers_with_a_delay", "result cached between calls"},
        Trick{"rogue_skips_in_quick_succession", "result cached between calls"},
        Trick{"rogue_computes_changed_rows", "result cached between calls"},
        Trick{"rogue_works_when_watched", "result cached between calls"},
        Trick{"rogue_works_later", "work deferred past the timer"},
        Trick{"rogue_leaves_a_thread", "thread still running after the call"},
        Trick{"rogue_brings_threads", "brought threads of their own"},
        Trick{"rogue_slows_the_clock", "somebody has replaced it"},
        Trick{"rogue_right_at_first", "right only for the first calls"},
        Trick{"rogue_knows_the_shape", "answers recognised by shape"},
        Trick{"rogue_changes_operands", "operand x (slot 0) was changed in place"},
        Trick{"rogue_aliases_output", "output y (output 0) is aliased to operand x (slot 0)"},
        Trick{"rogue_flushes_to_zero", "flush-to-zero left changed"},
        Trick{"rogue_flushes_inside", "compared elements of y"},
        Trick{"rogue_writes_outside", "1 bytes behind output y (output 0) were overwritten"},
        Trick{"rogue_reads_outside", "read byte 1 past the end of operand x (slot 0)"},
        Trick{"rogue_peeks_at_weights", "which run must not see (keeps_operands is not declared)"},
        Trick{"rogue_rounds_to_bf16", "compared elements of y"},
        Trick{"rogue_depends_on_chance", "the same input gives other bits"},
        Trick{"rogue_skips_an_element", "were not written"},
        Trick{"rogue_forgets_to_return_memory", "bytes that it did not give back"},
        Trick{"rogue_hires_a_process", "it started a process"},
        Trick{"rogue_forks", "it started a process"},
        Trick{"rogue_takes_other_processors", "a thread was moved to other processors"},
        Trick{"rogue_survives_faults", "the handler of faults was replaced"},
        Trick{"rogue_declares_itself_a_baseline", "was changed while the program ran"},
        Trick{"rogue_throws_in_the_end", "run threw: no more of this"},
        Trick{"rogue_leaves_the_program", "exited early with status 0"},
        Trick{"rogue_closes_files", "it closed files of this process"},
        Trick{"rogue_crashes", "SIGSEGV"}),
    [](const testing::TestParamInfo<Trick>& info) { return std::string(info.param.rogue); });

TEST(Rogues, WorkInASignalHandlerIsRefused) {
  const CaseRecord record = record_of("rogue_sets_an_alarm", "warm");
  const std::string message = record.row.at("check_message");
  EXPECT_EQ(record.row.at("check_status"), "fail");
  const bool named = message.find("it set a timer") != std::string::npos ||
                     message.find("work deferred past the timer") != std::string::npos;
  EXPECT_TRUE(named) << message;
}

TEST(Rogues, WhoIsRightOnlyWhereABigResultIsComparedIsRefused) {
  const CaseRecord record =
      record_of("rogue_knows_what_is_compared", "warm", timed_problem(256, 2048, 4096));
  const std::string message = record.row.at("check_message");
  EXPECT_EQ(record.row.at("check_status"), "fail");
  EXPECT_NE(message.find("right only where it is usually compared"), std::string::npos) << message;
}

TEST(Rogues, WhoKeepsOneCopyOfTheWeightsOfAllColdSetsIsRefused) {
  const CaseRecord record = record_of("rogue_keeps_one_copy_of_weights", "cold");
  const std::string message = record.row.at("check_message");
  EXPECT_EQ(record.row.at("check_status"), "fail");
  EXPECT_NE(message.find("with other weights of the same kind"), std::string::npos) << message;
}

// Of calls so short that many make a sample.
TEST(Rogues, WhoComputesOnlySomeCallsOfASampleIsRefused) {
  const CaseRecord record =
      record_of("rogue_computes_first_and_last", "warm", timed_problem(2, 8, 64));
  const std::string message = record.row.at("check_message");
  EXPECT_EQ(record.row.at("check_status"), "fail");
  EXPECT_NE(message.find("result cached between calls"), std::string::npos) << message;
}

TEST(Rogues, ThreadsThatWereThereBeforeAnyKernelStopTheRun) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the detector has a thread of its own";
#endif
  rogue::older_thread = true;
  try {
    record_of("rogue_brings_an_older_thread", "warm");
    ADD_FAILURE() << "nobody noticed the thread";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("threads"), std::string::npos) << error.what();
  }
  rogue::older_thread = false;
}

TEST(Rogues, TheHonestControlPasses) {
  for (const char* cache : {"warm", "cold"}) {
    const CaseRecord record = record_of("rogue_honest", cache);
    EXPECT_EQ(record.row.at("check_status"), "pass") << record.row.at("check_message");
    EXPECT_GE(record.samples.size(), 3U);
  }
}

// As those that were measured in a slow moment.
TEST(Rogues, CeilingsThatTheHonestControlExceedsAreMeasuredAgain) {
  Ceilings ceilings;
  for (const std::string& name : measurable_ceilings()) ceilings.set(name, 1, {.rate = 1});
  const CaseRecord record = record_of("rogue_honest", "warm", timed_problem(), ceilings);
  const double ceiling_s = record.row.at("ceiling_s");
  EXPECT_LT(ceiling_s, 1);  // at one operation a second it would be hours
  EXPECT_EQ(record.row.at("ceiling_fraction"),
            ceiling_s / record.row.at("time_median_s").get<double>());
}

// The same on a GPU, where a machine has one.
class CudaRogues : public testing::TestWithParam<Trick> {};

TEST_P(CudaRogues, IsRefusedByName) {
  const std::string missing = device_missing(80);
  if (!missing.empty()) GTEST_SKIP() << missing;
  const CaseRecord record = record_of(GetParam().rogue, "warm");
  const std::string message = record.row.at("check_message");
  EXPECT_EQ(record.row.at("check_status"), "fail") << message;
  EXPECT_NE(message.find(GetParam().named), std::string::npos) << message;
  EXPECT_EQ(record.samples.size(), 0U) << "a variant of ours that fails must not keep its times";
}

INSTANTIATE_TEST_SUITE_P(
    Gallery, CudaRogues,
    testing::Values(Trick{"rogue_cuda_reads_nowhere", "an illegal memory access"},
                    Trick{"rogue_cuda_works_later", "work deferred past the timer"},
                    Trick{"rogue_cuda_waits", "recording a call (does it wait"},
                    Trick{"rogue_cuda_writes_outside", "4 bytes behind output y (output 0)"},
                    Trick{"rogue_cuda_skips_an_element", "were not written"},
                    Trick{"rogue_cuda_remembers_results", "result cached between calls"},
                    Trick{"rogue_cuda_depends_on_chance", "the same input gives other bits"}),
    [](const testing::TestParamInfo<Trick>& info) { return std::string(info.param.rogue); });

// A recording of it is empty: either its outputs are found written too early, or not at all.
TEST(CudaRogues, WorkOnAnotherStreamIsRefused) {
  const std::string missing = device_missing(80);
  if (!missing.empty()) GTEST_SKIP() << missing;
  const CaseRecord record = record_of("rogue_cuda_uses_another_stream", "warm");
  const std::string message = record.row.at("check_message");
  EXPECT_EQ(record.row.at("check_status"), "fail");
  const bool named = message.find("work outside of the stream") != std::string::npos ||
                     message.find("result cached between calls") != std::string::npos;
  EXPECT_TRUE(named) << message;
  EXPECT_EQ(record.samples.size(), 0U);
}

TEST(CudaRogues, TheHonestControlPasses) {
  const std::string missing = device_missing(80);
  if (!missing.empty()) GTEST_SKIP() << missing;
  for (const char* cache : {"warm", "cold"}) {
    const CaseRecord record = record_of("rogue_cuda_honest", cache);
    EXPECT_EQ(record.row.at("check_status"), "pass") << record.row.at("check_message");
    EXPECT_GE(record.samples.size(), 3U);
  }
}

TEST(Rogues, EveryRegisteredRogueIsInTheGallery) {
  int rogues = 0;
  int on_device = 0;
  for (const Variant* variant : variants()) {
    const bool rogue = variant->name.starts_with("rogue_");
    rogues += rogue && variant->needs_cuda == 0;
    on_device += rogue && variant->needs_cuda > 0;
  }
  constexpr int kTricksAndControl = 40;
  constexpr int kCudaTricksAndControl = 9;
  EXPECT_EQ(rogues, kTricksAndControl);
  EXPECT_TRUE(on_device == 0 || on_device == kCudaTricksAndControl) << on_device;
}

}  // namespace
}  // namespace pareto
