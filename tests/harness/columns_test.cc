#include "harness/columns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>

#include "harness/errors.h"
#include "harness/registry.h"

namespace pareto {
namespace {

TEST(Columns, HoldWhatTheDocumentsPromise) {
  for (const char* name : {"case",
                           "group",
                           "op",
                           "variant",
                           "distribution",
                           "threads",
                           "cache",
                           "time_median_s",
                           "time_lo_s",
                           "time_hi_s",
                           "prepare_s",
                           "samples",
                           "flops",
                           "bytes",
                           "flops_per_s",
                           "bytes_per_s",
                           "ceiling_fraction",
                           "packed_bytes",
                           "compression_ratio",
                           "allocated_bytes",
                           "energy_j",
                           "total_rel_fro",
                           "kernel_rel_fro",
                           "compression_rel_fro",
                           "total_sqnr_db",
                           "bound_max",
                           "bound_median",
                           "rms_ratio",
                           "n_compared",
                           "check_status",
                           "stop_reason",
                           "machine",
                           "build",
                           "seed",
                           "group_run",
                           "processes",
                           "calls_per_sample",
                           "suspect",
                           "unstable"}) {
    EXPECT_NE(find_column(name), nullptr) << name;
  }
}

TEST(Columns, EveryKeyOfEveryOpIsOne) {
  for (const Op* op : ops()) {
    for (const Key& key : op->keys()) {
      const Column* column = find_column(key.name);
      ASSERT_NE(column, nullptr) << op->name() << " " << key.name;
      EXPECT_EQ(column->type == ColumnType::kText, key.kind == KeyKind::kWord) << key.name;
    }
  }
}

TEST(Columns, NamesAreUniqueAndDescribed) {
  std::set<std::string> names;
  for (const Column& column : columns()) {
    EXPECT_TRUE(names.insert(column.name).second) << column.name;
    EXPECT_FALSE(column.long_name.empty()) << column.name;
    const bool numeric = column.type == ColumnType::kReal || column.type == ColumnType::kInteger;
    EXPECT_EQ(column.unit.empty(), !numeric) << column.name;
  }
}

TEST(Columns, AreExplainedInTheReadme) {
  std::ifstream file("results/README.md");
  ASSERT_TRUE(file) << "run in the root of the repository";
  const std::string text(std::istreambuf_iterator<char>(file), {});
  std::set<std::string> keys;
  for (const Op* op : ops()) {
    for (const Key& key : op->keys()) keys.insert(key.name);
  }
  for (const Column& column : columns()) {
    if (keys.contains(column.name)) continue;  // `pareto list --verbose` explains these
    EXPECT_THAT(text, ::testing::HasSubstr("`" + column.name + "`"));
  }
}

TEST(Columns, RowsThatDoNotFitAreNamed) {
  EXPECT_EQ(row_mismatch({{"threads", 2}, {"time_median_s", 1}, {"energy_j", nullptr}}), "");
  EXPECT_THAT(row_mismatch({{"threads", 2.5}}), ::testing::HasSubstr("'threads' must be an int"));
  EXPECT_THAT(row_mismatch({{"suspect", "no"}}), ::testing::HasSubstr("'suspect'"));
  EXPECT_THAT(row_mismatch({{"thread", 2}}), ::testing::HasSubstr("'thread' is unknown"));
}

TEST(Columns, WordsOfACaseFitTheTableAndGiveItBack) {
  for (const Variant* variant : variants()) {
    Case subject;
    subject.variant = variant;
    subject.problem = Problem(find_op(variant->op));
    subject.problem.op().complete(subject.problem);
    subject.source.seed = 7;
    subject.threads = 2;
    subject.cache = "cold";
    identify(subject);
    const nlohmann::json row = words_row(subject);
    EXPECT_EQ(row_mismatch(row), "");
    EXPECT_EQ(case_from_row(row).hash, subject.hash) << full_name(*variant);
    EXPECT_THAT(row.at("command").get<std::string>(),
                ::testing::AllOf(::testing::StartsWith("pareto time " + variant->op),
                                 ::testing::HasSubstr("--variant " + variant->name),
                                 ::testing::HasSubstr("seed=7")));
  }
}

TEST(Columns, RowsWithoutAWordOfTheCaseAreRefused) {
  Case subject;
  subject.variant = &find_variant(find_op("qgemm"), "scalar");
  subject.problem = Problem(find_op("qgemm"));
  const nlohmann::json whole = words_row(subject);
  for (const char* name : {"op", "variant", "distribution", "seed", "threads", "cache"}) {
    nlohmann::json row = whole;
    row.erase(name);
    EXPECT_THROW(case_from_row(row), InputError) << name;
    row[name] = nullptr;
    EXPECT_THROW(case_from_row(row), InputError) << name;
  }
}

TEST(Columns, CommandsSurviveAShell) {
  Case subject;
  subject.variant = &find_variant(find_op("qgemm"), "scalar");
  subject.problem = Problem(find_op("qgemm"));
  subject.source = {.distribution = "file", .file = "Bob's layers.h5", .tensor = "a$b"};
  EXPECT_THAT(subject.command(), ::testing::HasSubstr(R"('file=Bob'\''s layers.h5' 'tensor=a$b')"));
  EXPECT_EQ(words_row(subject).at("command"), subject.command());
}

}  // namespace
}  // namespace pareto
