#include "harness/mutant_trust.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "harness/checker.h"
#include "harness/errors.h"
#include "harness/variant_battery.h"

namespace pareto {
namespace {

/// One input of the battery with its reference, made when a mutant first needs it.
struct TrustInput {
  const BatteryInput* input = nullptr;
  Operands operands;
  Expected expected;
  std::vector<Bounds> bounds;
};

TrustInput prepared_input(const BatteryInput& input, const Arithmetic& arithmetic, int threads) {
  TrustInput ready;
  ready.input = &input;
  const Op& op = input.problem.op();
  ready.operands = op.encode(input.problem, op.draw(input.problem, input.draw));
  ready.expected = expect(input.problem, ready.operands, input.exact, input.draw.seed, threads);
  ready.bounds = bounds_of(ready.expected, arithmetic);
  return ready;
}

/// "" if the mutant passes for right on this input, else the check that rejects it.
std::string rejection(const TrustInput& ready, const std::string& mutant) {
  try {
    const Outputs wrong =
        ready.input->problem.op().mutate(mutant, ready.input->problem, ready.operands);
    return verify(ready.expected, ready.bounds, views_of(wrong)).check;
  } catch (const InputError&) {
    return "";  // this input has nothing that the mutant could break (no second key to drop)
  }
}

/// Everything that decides the outcome, as text. All members are named one by one, so that a new
/// one does not compile until it counts here.
std::string memo_key(const Problem& problem, const std::vector<BatteryInput>& battery,
                     const Arithmetic& arithmetic) {
  const auto& [u_acc, acc_truncates, acc_bits, acc_block, acc_promote, acc_lanes, integer_acc,
               u_operand, epilogue_roundings, u_activation, relu_drops_nan, flushes_subnormals,
               operand_products, u_exp, u_p, p_underflow, sums_rounded_p, kv_block, u_q_inner,
               u_q_step, u_p_page, u_tanh, deterministic, leaks_nonfinite, multiplies_pruned] =
      arithmetic;
  std::string key = fmt::format(
      "{}", fmt::join(std::tie(u_acc, acc_truncates, acc_bits, acc_block, acc_promote, acc_lanes,
                               integer_acc, u_operand, epilogue_roundings, u_activation,
                               relu_drops_nan, flushes_subnormals, operand_products, u_exp, u_p,
                               p_underflow, sums_rounded_p, kv_block, u_q_inner, u_q_step, u_p_page,
                               u_tanh, deterministic, leaks_nonfinite, multiplies_pruned),
                      " "));
  return key + "|" + problem.text() + battery_text(battery);
}

MutantTrust tried(const Problem& problem, const std::vector<BatteryInput>& battery,
                  const Arithmetic& arithmetic, int threads) {
  MutantTrust trust;
  std::vector<TrustInput> ready;
  for (const Mutant& mutant : problem.op().mutants(problem)) {
    MutantOutcome& outcome = trust.outcomes.emplace_back();
    outcome.mutant = mutant.name;
    outcome.not_applicable = mutant.not_applicable;
    if (!mutant.not_applicable.empty()) continue;
    for (std::size_t i = 0; i < battery.size() && outcome.rejected_by.empty(); ++i) {
      if (ready.size() <= i) ready.push_back(prepared_input(battery[i], arithmetic, threads));
      const std::string check = rejection(ready[i], mutant.name);
      if (!check.empty()) outcome.rejected_by = battery[i].name + ": " + check;
    }
  }
  return trust;
}

}  // namespace

std::string MutantTrust::survivors() const {
  std::string names;
  for (const MutantOutcome& outcome : outcomes) {
    if (!outcome.not_applicable.empty() || !outcome.rejected_by.empty()) continue;
    names += (names.empty() ? "" : ", ") + outcome.mutant;
  }
  return names;
}

const MutantTrust& mutant_trust(const Problem& problem, const std::vector<BatteryInput>& battery,
                                const Arithmetic& arithmetic, int threads) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<const MutantTrust>> memo;
  const std::string key = memo_key(problem, battery, arithmetic);
  const std::lock_guard lock(mutex);
  std::unique_ptr<const MutantTrust>& entry = memo[key];
  if (entry == nullptr) {
    entry = std::make_unique<const MutantTrust>(tried(problem, battery, arithmetic, threads));
  }
  return *entry;
}

const MutantTrust& mutant_trust(const Problem& problem, const Arithmetic& arithmetic, int threads) {
  return mutant_trust(problem, problem.op().battery(problem), arithmetic, threads);
}

}  // namespace pareto
