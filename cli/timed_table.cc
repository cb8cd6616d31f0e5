#include "cli/timed_table.h"

#include <fmt/format.h>

#include <cmath>
#include <string>

#include "harness/compare.h"

namespace pareto {
namespace {

using nlohmann::json;

double real(const json& row, const char* column) {
  const auto found = row.find(column);
  return found != row.end() && found->is_number() ? found->get<double>() : NAN;
}

std::string seconds_text(double seconds) {
  if (std::isnan(seconds)) return "-";
  if (seconds < 1e-3) return fmt::format("{:.2f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.3f} ms", seconds * 1e3);
  return fmt::format("{:.3f} s", seconds);
}

std::string percent(double fraction) {
  return std::isnan(fraction) ? "-" : fmt::format("{:.1f}", 100 * fraction);
}

Comparison compare_records(const CaseRecord& first, const CaseRecord& second, int comparisons) {
  const std::vector<std::int64_t> rounds_a = distinct_rounds(first.samples);
  const std::vector<std::int64_t> rounds_b = distinct_rounds(second.samples);
  return compare_rounds({second.samples.seconds, rounds_b}, {first.samples.seconds, rounds_a},
                        {.margin = 0.02, .confidence = 0.95, .comparisons = comparisons});
}

}  // namespace

void print_timed(const std::vector<CaseRecord>& records) {
  fmt::print("{:<24} {:>12} {:>23} {:>10} {:>6} {:>10} {:>10} {:>10}  {}\n", "variant", "median",
             "95 % interval", "GFLOP/s", "% ceil", "total err", "kernel err", "check",
             "first against this");
  const int comparisons = static_cast<int>(records.size()) - 1;
  for (const CaseRecord& record : records) {
    const json& row = record.row;
    std::string ratio;
    if (&record != &records.front()) {
      const Comparison pair = compare_records(records.front(), record, comparisons);
      ratio = std::isnan(pair.speedup)
                  ? "not comparable"
                  : fmt::format("{} {:.3f}x [{:.3f}, {:.3f}]", name_of(pair.verdict), pair.speedup,
                                pair.lo, pair.hi);
    }
    fmt::print("{:<24} {:>12} {:>11} {:>11} {:>10.2f} {:>6} {:>10.2e} {:>10.2e} {:>10}  {}\n",
               row.at("variant").get<std::string>(), seconds_text(real(row, "time_median_s")),
               seconds_text(real(row, "time_lo_s")), seconds_text(real(row, "time_hi_s")),
               real(row, "flops_per_s") / 1e9, percent(real(row, "ceiling_fraction")),
               real(row, "total_rel_fro"), real(row, "kernel_rel_fro"),
               row.at("check_status").get<std::string>(), ratio);
  }
  for (const CaseRecord& record : records) {
    const std::string message = record.row.value("check_message", "");
    if (!message.empty()) {
      fmt::print("{}: {}\n", record.row.at("variant").get<std::string>(), message);
    }
  }
}

json timed_json(const std::vector<CaseRecord>& records) {
  json cases = json::array();
  json pairs = json::array();
  const int comparisons = static_cast<int>(records.size()) - 1;
  for (const CaseRecord& record : records) {
    cases.push_back(record.row);
    if (&record == &records.front()) continue;
    const Comparison pair = compare_records(records.front(), record, comparisons);
    // As of `compare`: the verdict is that of the second, the ratio time of the first / second.
    pairs.push_back({{"first", record.row.at("variant")},
                     {"second", records.front().row.at("variant")},
                     {"verdict", name_of(pair.verdict)},
                     {"ratio", pair.speedup},
                     {"ratio_lo", pair.lo},
                     {"ratio_hi", pair.hi},
                     {"reason", pair.reason}});
  }
  return {{"cases", cases}, {"pairs", pairs}};
}

}  // namespace pareto
