#include "harness/problem.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "harness/errors.h"
#include "tests/harness/toy_op.h"

namespace pareto {
namespace {

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(Problem, StartsWithTheDefaultsOfItsOp) {
  const toy::Op op;
  const Problem problem(op);
  EXPECT_EQ(problem.text(), "M=3 N=5 K=7 battery=good");
  EXPECT_TRUE(problem.is_default("M"));
}

TEST(Problem, TakesValuesAsTextAndAsNumbers) {
  const toy::Op op;
  Problem problem(op);
  problem.set_text("M", "16").set("N", std::int64_t{0}).set_text("battery", "blind");
  EXPECT_EQ(problem.text(), "M=16 N=0 K=7 battery=blind");
  EXPECT_FALSE(problem.is_default("battery"));
}

TEST(Problem, NamesKeyValueLimitAndTheNearestWord) {
  const toy::Op op;
  Problem problem(op);
  EXPECT_NE(message_of([&] { problem.set_text("M", "-1"); }).find("M = '-1' is not legal"),
            std::string::npos);
  EXPECT_NE(message_of([&] { problem.set_text("M", "1.5"); }).find("an integer"),
            std::string::npos);
  EXPECT_NE(message_of([&] { problem.set_text("batery", "good"); }).find("did you mean 'battery'?"),
            std::string::npos);
  EXPECT_NE(message_of([&] { problem.set_text("battery", "goood"); }).find("did you mean 'good'?"),
            std::string::npos);
  EXPECT_NE(message_of([&] { problem.set("M", std::string("many")); }).find("M = 'many'"),
            std::string::npos);
}

TEST(ParseValue, ReadsTheWordThatStandsForNaN) {
  const Key key{.name = "scale", .kind = KeyKind::kReal, .nan_word = "auto", .min = -10, .max = 10};
  EXPECT_TRUE(std::isnan(std::get<double>(parse_value(key, "auto"))));
  EXPECT_EQ(std::get<double>(parse_value(key, "0.5")), 0.5);
  EXPECT_EQ(text_of(key, parse_value(key, "auto")), "auto");
  EXPECT_NE(message_of([&] { parse_value(key, "nan"); }).find("or 'auto'"), std::string::npos);
  EXPECT_NE(message_of([&] { parse_value(key, "11"); }), "");
  EXPECT_NE(message_of([&] { parse_value(key, "0.5x"); }), "");
}

TEST(NearestWord, FindsSmallSlipsAndNothingElse) {
  const std::vector<std::string> words = {"causal", "none", "causal_top_left"};
  EXPECT_EQ(nearest_word("casual", words), "causal");
  EXPECT_EQ(nearest_word("CAUSAL", words), "causal");
  EXPECT_EQ(nearest_word("zebra", words), "");
  EXPECT_EQ(suggestion("zebra", words), "; known: causal, none, causal_top_left");
}

}  // namespace
}  // namespace pareto
