#include "harness/endurance.h"

#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "harness/call_buffers.h"
#include "harness/registry.h"
#include "harness/sign_flips.h"

namespace pareto {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kCalls = 256;
constexpr std::chrono::milliseconds kTime{250};

/// One content with what it must give and, after its first call, what it gave.
struct Round {
  Operands operands;
  Expected expected;
  std::vector<Bounds> bounds;
  Outputs first;
};

bool same_bits(const Outputs& a, const Outputs& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    const Tensor& left = a[i].view();
    if (left.bytes() > 0 && std::memcmp(left.data, b[i].view().data, left.bytes()) != 0)
      return false;
  }
  return true;
}

/// The operands with the sign of one nonzero element flipped: a result remembered under a few
/// sampled elements of the input will not notice. Empty if no element can be flipped.
Operands with_one_element_flipped(const Problem& problem, const Operands& operands) {
  const FlipPlace place = flip_place(problem, operands);
  if (place.slot < 0) return {};
  Operands changed = operands;
  flip_sign(changed[static_cast<std::size_t>(place.slot)].view(), place.element);
  return changed;
}

std::vector<Round> rounds_of(const InputCase& input, const Arithmetic& arithmetic, int threads) {
  std::vector<Round> rounds;
  const auto add = [&](const Operands& operands, Expected expected) {
    std::vector<Bounds> bounds = bounds_of(expected, arithmetic);
    rounds.push_back({operands, std::move(expected), std::move(bounds), {}});
  };
  add(input.operands, input.expected);
  if (!input.other.empty()) add(input.other, input.other_expected);
  const Operands flipped = with_one_element_flipped(input.problem, input.operands);
  // Bounded, not exact: the flipped element may have been part of a plant.
  if (!flipped.empty()) add(flipped, expect(input.problem, flipped, false, 1, threads));
  return rounds;
}

std::string complaint(const std::vector<Round>& rounds, const Outputs& got, int number,
                      const std::string& details) {
  if (number > static_cast<int>(rounds.size())) {
    return fmt::format(
        "repeat: call {} is wrong where an earlier call on the same input was "
        "right: right only for the first calls; {}",
        number, details);
  }
  for (const Round& other : rounds) {
    if (!other.first.empty() && same_bits(other.first, got)) {
      return fmt::format(
          "cached: result cached between calls: call {}, on new contents, gave an "
          "earlier result; {}",
          number, details);
    }
  }
  return details;
}

}  // namespace

std::string check_endurance(const Variant& variant, const InputCase& input, ThreadPool& pool) {
  const Arithmetic arithmetic = arithmetic_of(variant, input.problem);
  std::vector<Round> rounds = rounds_of(input, arithmetic, pool.size());
  CallBuffers buffers(variant, input.problem, input.operands, Layout::kTimed);
  const std::unique_ptr<Prepared> prepared = buffers.prepare(variant, input.problem, pool);
  const int count = static_cast<int>(rounds.size());
  const auto deadline = Clock::now() + kTime;
  for (int number = 1; number <= kCalls; ++number) {
    if (number > 2 * count && Clock::now() > deadline) break;
    Round& round = rounds[static_cast<std::size_t>((number - 1) % count)];
    buffers.load_transient(round.operands);
    if ((number - 1) / count % 2 == 0) buffers.poison_outputs();
    buffers.run(*prepared, pool);
    Outputs got = buffers.copy_outputs();
    const bool first = round.first.empty();
    if (!first && arithmetic.deterministic && same_bits(round.first, got)) continue;
    const Verdict verdict = verify(round.expected, round.bounds, views_of(got));
    const bool repeats = first || !arithmetic.deterministic;
    if (!verdict.pass || !repeats) {
      return complaint(rounds, got, number,
                       verdict.pass ? "its bits differ from those of the first" : verdict.message);
    }
    if (first) round.first = std::move(got);
  }
  return "";
}

}  // namespace pareto
