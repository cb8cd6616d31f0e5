#include "cli/frontier.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <tuple>
#include <utility>

namespace pareto {
namespace {

struct Point {
  double time_s;
  double error;
  std::size_t row;
};

// By time, then error: whoever comes later must be more accurate than all before.
void mark(std::vector<Point>& points, std::vector<bool>& on_frontier) {
  std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) {
    return std::tie(a.time_s, a.error) < std::tie(b.time_s, b.error);
  });
  Point best{NAN, std::numeric_limits<double>::infinity(), 0};
  for (const Point& point : points) {
    const bool equal = point.time_s == best.time_s && point.error == best.error;
    if (!equal && point.error >= best.error) continue;
    on_frontier[point.row] = true;
    best = point;
  }
}

}  // namespace

std::vector<bool> frontier_rows(const ResultTable& table) {
  std::map<std::pair<std::string, std::string>, std::vector<Point>> groups;
  for (std::size_t row = 0; row < table.rows; ++row) {
    const Point point{table.real("time_median_s", row), table.real("total_rel_fro", row), row};
    const bool sound = std::isfinite(point.time_s) && std::isfinite(point.error) &&
                       table.text("check_status", row) == "pass" && !table.flag("suspect", row);
    if (sound) groups[{table.text("group", row), table.text("machine", row)}].push_back(point);
  }
  std::vector<bool> on_frontier(table.rows, false);
  for (auto& [group, points] : groups) mark(points, on_frontier);
  return on_frontier;
}

}  // namespace pareto
