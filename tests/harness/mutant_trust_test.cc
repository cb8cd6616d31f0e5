#include "harness/mutant_trust.h"

#include <gtest/gtest.h>

#include "tests/harness/toy_op.h"

namespace pareto {
namespace {

TEST(MutantTrust, AGoodBatteryRejectsEveryMutant) {
  const MutantTrust& trust = mutant_trust(Problem(toy::op()), Arithmetic{}, 1);
  EXPECT_EQ(trust.survivors(), "");
  ASSERT_EQ(trust.outcomes.size(), 4U);
  EXPECT_EQ(trust.outcomes[0].rejected_by, "exact: exact");
  EXPECT_EQ(trust.outcomes[3].not_applicable, "no scales");
  EXPECT_EQ(trust.outcomes[3].rejected_by, "");
}

TEST(MutantTrust, NamesTheMutantsThatABlindBatteryLetsThrough) {
  Problem problem(toy::op());
  problem.set("battery", std::string("blind"));
  EXPECT_EQ(mutant_trust(problem, Arithmetic{}, 1).survivors(), "zeros, twice, last_k_dropped");
}

// A declared arithmetic so coarse that anything is within its bound must cost the variant its
// trust.
TEST(MutantTrust, DependsOnTheDeclaredArithmetic) {
  Arithmetic coarse;
  coarse.u_acc = 1;
  const MutantTrust& trust = mutant_trust(Problem(toy::op()), coarse, 1);
  EXPECT_EQ(trust.outcomes[0].rejected_by, "exact: exact");  // exact inputs ask no bound
  EXPECT_NE(&trust, &mutant_trust(Problem(toy::op()), Arithmetic{}, 1));
}

// What a library's relu may swallow is not what our own may.
TEST(MutantTrust, IsNotSharedWithALibraryThatDropsNan) {
  Arithmetic library;
  library.relu_drops_nan = true;
  EXPECT_NE(&mutant_trust(Problem(toy::op()), library, 1),
            &mutant_trust(Problem(toy::op()), Arithmetic{}, 1));
}

}  // namespace
}  // namespace pareto
