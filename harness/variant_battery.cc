#include "harness/variant_battery.h"

#include <fmt/format.h>

#include <algorithm>

#include "harness/errors.h"
#include "harness/registry.h"

namespace pareto {
namespace {

std::int64_t nearest(const Limit& limit, std::int64_t size) {
  const std::int64_t clamped = std::clamp(size, limit.min, limit.max);
  const std::int64_t beyond = clamped % limit.multiple_of;
  if (beyond == 0) return clamped;
  const std::int64_t below = clamped - beyond - (beyond < 0 ? limit.multiple_of : 0);
  return below <= limit.max - limit.multiple_of ? below + limit.multiple_of : below;
}

// Whether the op takes these sizes together, and its draw finds room for what it plants.
bool can_be_drawn(BatteryInput& input) {
  try {
    const Op& op = input.problem.op();
    op.complete(input.problem);
    (void)op.encode(input.problem, op.draw(input.problem, input.draw));
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

Problem within_limits(const Variant& variant, Problem problem) {
  for (const Limit& limit : variant.limits) {
    if (limit.values.empty()) problem.set(limit.key, nearest(limit, problem.size(limit.key)));
  }
  return problem;
}

std::vector<BatteryInput> battery_of(const Variant& variant, const Problem& problem) {
  std::vector<BatteryInput> battery = problem.op().battery(problem);
  for (BatteryInput& input : battery) {
    if (refusal(variant, input.problem).empty()) continue;
    BatteryInput fitted = input;
    fitted.problem = within_limits(variant, input.problem);
    if (fitted.problem == input.problem || !can_be_drawn(fitted)) continue;
    for (const Limit& limit : variant.limits) {
      const Problem& before = input.problem;
      if (!limit.values.empty() || before.size(limit.key) == fitted.problem.size(limit.key)) {
        continue;
      }
      fitted.name += fmt::format(" {}={}", limit.key, fitted.problem.size(limit.key));
    }
    input = std::move(fitted);
  }
  return battery;
}

std::string battery_text(const std::vector<BatteryInput>& battery) {
  std::string text;
  for (const BatteryInput& input : battery) {
    text += fmt::format("|{} {} {} {} {} {}", input.problem.op().name(), input.problem.text(),
                        input.draw.distribution, input.draw.seed, input.draw.content, input.exact);
  }
  return text;
}

}  // namespace pareto
