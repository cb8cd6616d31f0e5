// One cheating variant for each known trick: the harness refuses each by the name of its trick.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "harness/case.h"
#include "harness/registry.h"
#include "harness/runner.h"

namespace pareto {
namespace {

// Small enough to be called thousands of times, large enough that remembering pays; one page per
// operand, which is what aliasing needs.
Problem timed_problem() {
  Problem problem(find_op("qgemm"));
  problem.set("M", std::int64_t{16}).set("N", std::int64_t{64}).set("K", std::int64_t{64});
  problem.op().complete(problem);
  return problem;
}

/// Check, timing and last checks of one variant, as `pareto time` does them.
CaseRecord record_of(const std::string& name, const std::string& cache) {
  Case subject;
  subject.variant = &find_variant(find_op("qgemm"), name);
  subject.problem = timed_problem();
  subject.cache = cache;
  identify(subject);
  Group group;
  group.hash = subject.group;
  group.cases = {subject};
  std::set<std::string> battery_passed;
  const MeasureSettings measure{.precision = 0.05, .budget_s = 4, .min_blocks = 256};
  return measure_isolated(group, measure, RunOptions{}, Ceilings{}, battery_passed).at(0);
}

struct Trick {
  const char* rogue;
  const char* named;  ///< what the refusal must say
};

std::ostream& operator<<(std::ostream& out, const Trick& trick) { return out << trick.rogue; }

class Rogues : public testing::TestWithParam<Trick> {};

TEST_P(Rogues, IsRefusedByName) {
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
        Trick{"rogue_writes_outside", "1 bytes behind output y (output 0) were overwritten"},
        Trick{"rogue_reads_outside", "read byte 1 past the end of operand x (slot 0)"},
        Trick{"rogue_peeks_at_weights", "which run must not see (keeps_operands is not declared)"},
        Trick{"rogue_rounds_to_bf16", "compared elements of y"},
        Trick{"rogue_depends_on_chance", "the same input gives other bits"},
        Trick{"rogue_skips_an_element", "were not written"},
        Trick{"rogue_forgets_to_return_memory", "bytes that it did not give back"},
        Trick{"rogue_crashes", "SIGSEGV"}),
    [](const testing::TestParamInfo<Trick>& info) { return std::string(info.param.rogue); });

TEST(Rogues, TheHonestControlPasses) {
  for (const char* cache : {"warm", "cold"}) {
    const CaseRecord record = record_of("rogue_honest", cache);
    EXPECT_EQ(record.row.at("check_status"), "pass") << record.row.at("check_message");
    EXPECT_GE(record.samples.size(), 3U);
  }
}

TEST(Rogues, EveryRegisteredRogueIsInTheGallery) {
  int rogues = 0;
  for (const Variant* variant : variants()) rogues += variant->name.starts_with("rogue_");
  constexpr int kTricksAndControl = 21;
  EXPECT_EQ(rogues, kTricksAndControl);
}

}  // namespace
}  // namespace pareto
