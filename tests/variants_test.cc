// Every check on every registered variant: a new file in kernels/ is tested without an edit here.
#include <gtest/gtest.h>

#include <cstdio>
#include <set>
#include <string>
#include <utility>

#include "harness/case.h"
#include "harness/check_battery.h"
#include "harness/check_matrix.h"
#include "harness/machine.h"
#include "harness/registry.h"

namespace pareto {
namespace {

// A battery takes seconds under the sanitizers; a hang must not take the suite with it.
constexpr double kTimeoutS = 600;

class VariantChecks : public testing::Test {
 public:
  VariantChecks(const Variant& variant, Problem problem)
      : variant_(variant), problem_(std::move(problem)) {}

  void TestBody() override {
    const std::string missing = missing_here(variant_);
    if (!missing.empty()) GTEST_SKIP() << missing;
    const CheckReport report =
        check_isolated(variant_, problem_, this_machine().cores, CheckOptions{}, kTimeoutS);
    EXPECT_EQ(report.status, CheckStatus::kPass)
        << full_name(variant_) << " " << problem_.text() << "\n"
        << name_of(report.status) << " [" << report.check << "] " << report.message;
  }

 private:
  const Variant& variant_;
  Problem problem_;
};

// Options that differ from the defaults, as a test name.
std::string name_of_problem(const Problem& problem) {
  std::string name;
  for (const Key& key : problem.op().keys()) {
    if (key.kind != KeyKind::kWord || problem.is_default(key.name)) continue;
    name += "_" + key.name + "_" + problem.word(key.name);
  }
  return name.empty() ? "_default" : name;
}

int register_all() {
  int count = 0;
  for (const Variant* variant : variants()) {
    if (variant->baseline) continue;  // other people's code is reported on, not judged
    for (const Problem& problem : check_matrix(*variant)) {
      if (!refusal(*variant, problem).empty()) continue;
      testing::RegisterTest(
          ("Variants/" + full_name(*variant)).c_str(), name_of_problem(problem).substr(1).c_str(),
          nullptr, nullptr, __FILE__, __LINE__,
          [variant, problem]() -> VariantChecks* { return new VariantChecks(*variant, problem); });
      ++count;
    }
  }
  return count;
}

// The scalar variants are the ones that take everything.
TEST(Registry, ScalarVariantsDeclineNothing) {
  for (const Op* op : ops()) {
    const Variant& scalar = find_variant(*op, "scalar");
    EXPECT_EQ(missing_here(scalar), "");
    for (const Problem& problem : check_matrix(*op)) {
      EXPECT_EQ(refusal(scalar, problem), "") << problem.text();
    }
  }
}

// A variant that refuses every problem of the checks would never be checked.
TEST(Registry, EveryVariantTakesAProblemThatChecksIt) {
  for (const Variant* variant : variants()) {
    if (variant->limits.empty() && !variant->plugin.empty()) continue;  // not built here
    bool taken = false;
    for (const Problem& problem : check_matrix(*variant)) {
      taken = taken || refusal(*variant, problem).empty();
    }
    EXPECT_TRUE(taken) << full_name(*variant);
  }
}

TEST(Registry, NamesAreUniqueAndEverythingHasASummary) {
  std::set<std::string> names;
  for (const Variant* variant : variants()) {
    EXPECT_TRUE(names.insert(full_name(*variant)).second) << full_name(*variant);
    EXPECT_NE(variant->summary, "") << full_name(*variant);
  }
}

}  // namespace
}  // namespace pareto

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (pareto::register_all() == 0) {
    std::fputs("no variant is registered\n", stderr);
    return 1;
  }
  return RUN_ALL_TESTS();
}
