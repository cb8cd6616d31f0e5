#include "cli/frontier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace pareto {
namespace {

using ::testing::ElementsAre;

struct Row {
  double time_s;
  double error;
  std::string status = "pass";
  std::string group = "g";
  std::string machine = "m";
  bool suspect = false;
};

ResultTable table_of(const std::vector<Row>& rows) {
  ResultTable table;
  table.rows = rows.size();
  const auto add = [&](const std::string& name, ColumnType type, auto value_of) {
    ColumnData data{{name, type, "", ""}, {}, {}, {}};
    for (const Row& row : rows) data.append(value_of(row));
    table.columns.push_back(std::move(data));
  };
  using nlohmann::json;
  const auto number = [](double value) { return std::isnan(value) ? json(nullptr) : json(value); };
  add("time_median_s", ColumnType::kReal, [&](const Row& row) { return number(row.time_s); });
  add("total_rel_fro", ColumnType::kReal, [&](const Row& row) { return number(row.error); });
  add("check_status", ColumnType::kText, [](const Row& row) { return json(row.status); });
  add("group", ColumnType::kText, [](const Row& row) { return json(row.group); });
  add("machine", ColumnType::kText, [](const Row& row) { return json(row.machine); });
  add("suspect", ColumnType::kBool, [](const Row& row) { return json(row.suspect); });
  return table;
}

TEST(Frontier, HoldsWhoeverIsNotBeatenInBoth) {
  EXPECT_THAT(frontier_rows(table_of({{3, 1}, {1, 3}, {2, 2}, {2, 3}, {4, 1}})),
              ElementsAre(true, true, true, false, false));
}

TEST(Frontier, IdenticalPointsAreAllOnIt) {
  EXPECT_THAT(frontier_rows(table_of({{1, 1}, {1, 1}, {1, 2}})), ElementsAre(true, true, false));
}

TEST(Frontier, GroupsAndMachinesDoNotCompete) {
  EXPECT_THAT(frontier_rows(table_of({{1, 1}, {2, 2, "pass", "h"}, {2, 2, "pass", "g", "n"}})),
              ElementsAre(true, true, true));
}

TEST(Frontier, UnsoundCasesNeitherStandNorBeat) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(frontier_rows(table_of({{1, 1, "fail"},
                                      {1, 1, "untrusted"},
                                      {1, 1, "pass", "g", "m", true},
                                      {nan, 1},
                                      {1, nan},
                                      {2, 2}})),
              ElementsAre(false, false, false, false, false, true));
}

}  // namespace
}  // namespace pareto
