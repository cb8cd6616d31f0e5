// The inputs on which every variant of qgemm is checked.
#include "harness/problem.h"
#include "reference/qgemm_parts.h"

namespace pareto {
namespace {

struct Entry {
  const char* distribution;
  std::int64_t M;
  std::int64_t N;
  std::int64_t K;
};

// Tiles in use are 4…32 rows, 16…256 columns, 16…128 of K per step and some 1024 dwords of K per
// block; shapes stand at and on both sides of them, and K is also a multiple of nothing.
constexpr Entry kExact[] = {{"exact", 17, 33, 325}, {"exact", 5, 131, 1031}, {"exact", 1, 48, 512}};
constexpr Entry kRandom[] = {
    {"normal", 1, 1, 1},        {"normal", 16, 32, 128},  {"normal", 15, 31, 127},
    {"normal", 17, 33, 129},    {"normal", 129, 257, 67}, {"normal", 3, 21, 4133},
    {"uniform", 1, 65, 263},    {"integer", 12, 15, 300}, {"outlier", 33, 64, 511},
    {"positive", 31, 47, 1031}, {"planted", 13, 34, 325}, {"normal", 2, 3, 0},
    {"normal", 0, 16, 64},
};
// Codes near the top of their range, all of one sign: sums in 16 bits overflow. Float chains are
// not asked: equal products make equal rounding errors, which add up.
constexpr Entry kSaturating = {"saturating", 6, 19, 389};
constexpr Entry kNonFinite = {"nonfinite", 18, 35, 133};
// Who flushes subnormal numbers, and does not declare it, shows. fp16 has others.
constexpr Entry kSubnormal = {"subnormal", 19, 34, 69};
// Scales at and beyond the ends of their types.
constexpr Entry kUneven = {"uneven", 20, 35, 549};

BatteryInput input_of(const Problem& like, const Entry& entry) {
  BatteryInput input;
  input.problem = like;
  input.problem.set("M", entry.M).set("N", entry.N).set("K", entry.K);
  input.draw.distribution = entry.distribution;
  input.name = std::string(entry.distribution) + " " + std::to_string(entry.M) + "x" +
               std::to_string(entry.N) + "x" + std::to_string(entry.K);
  return input;
}

// The other functions are exact nowhere, and those with a limit hide large sums.
void bare_unless_relu(BatteryInput& input) {
  if (input.problem.word("activation") == "relu") return;
  input.problem.set("activation", std::string("none"));
}

}  // namespace

std::vector<BatteryInput> qgemm_battery(const Problem& like) {
  std::vector<BatteryInput> battery;
  for (const Entry& entry : kExact) {
    BatteryInput input = input_of(like, entry);
    input.exact = true;
    bare_unless_relu(input);
    battery.push_back(std::move(input));
  }
  for (const Entry& entry : kRandom) battery.push_back(input_of(like, entry));
  const QgemmProblem p = QgemmProblem::from(like);
  if (p.integer_products()) {
    battery.push_back(input_of(like, kSaturating));
    bare_unless_relu(battery.back());
  }
  if (!p.integer_operands()) {
    battery.push_back(input_of(like, kUneven));
    bare_unless_relu(battery.back());
  }
  const bool propagates = p.x_kind == XKind::kFloat && p.w_kind == WKind::kFloat;
  if (propagates) battery.push_back(input_of(like, kNonFinite));
  if (propagates && p.x_dtype != DType::kF16) {
    battery.push_back(input_of(like, kSubnormal));
    bare_unless_relu(battery.back());
  }
  return battery;
}

}  // namespace pareto
