#include "cli/table.h"

#include <gtest/gtest.h>

#include <cmath>

namespace pareto {
namespace {

TEST(TextTable, ColumnsAreAsWideAsTheirWidestCell) {
  TextTable table({"<name", "time"});
  table.add({"a", "12.5 us"});
  table.add({"longer", "1 s"});
  EXPECT_EQ(table.text(),
            "name       time\n"
            "a       12.5 us\n"
            "longer      1 s\n");
}

TEST(TextTable, WidthCountsCharactersNotBytes) {
  TextTable table({"<a", "<b"});
  table.add({"µµ", "x"});
  table.add({"zz", "y"});
  EXPECT_EQ(table.text(), "a   b\nµµ  x\nzz  y\n");
}

TEST(TextTable, EmptyColumnsAreLeftOut) {
  TextTable table({"<a", "<none", "<b"});
  table.add({"1", "", "2"});
  EXPECT_EQ(table.text(), "a  b\n1  2\n");
}

TEST(NumberText, HasUnitsAndADashForNan) {
  EXPECT_EQ(seconds_text(1.234e-5), "12.34 us");
  EXPECT_EQ(seconds_text(0.0125), "12.500 ms");
  EXPECT_EQ(seconds_text(2), "2.000 s");
  EXPECT_EQ(seconds_text(NAN), "-");
  EXPECT_EQ(percent_text(0.123), "12.3 %");
  EXPECT_EQ(percent_text(NAN), "-");
  EXPECT_EQ(error_text(NAN), "-");
}

}  // namespace
}  // namespace pareto
