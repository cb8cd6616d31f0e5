#include "harness/contents.h"

#include <utility>

#include "harness/check_battery.h"
#include "harness/hash.h"
#include "harness/reference_cache.h"

namespace pareto {

Contents::Contents(const Problem& problem, const Source& source, int count, int threads)
    : problem_(problem), threads_(threads), seed_(source.seed) {
  inputs_ = original_inputs(problem, source, 0);
  operands_.push_back(problem.op().encode(problem, inputs_));
  for (int content = 1; content < count; ++content) {
    const TensorMap inputs = original_inputs(problem, source, content);
    Operands mixed =
        with_persistent_of(problem, operands_[0], problem.op().encode(problem, inputs));
    if (mixed.empty()) break;  // shapes differ: this op cannot swap contents in place
    operands_.push_back(std::move(mixed));
  }
  expected_.resize(operands_.size());
}

const Expected& Contents::expected(int content) {
  std::unique_ptr<Expected>& entry = expected_[content];
  if (entry == nullptr) {
    entry =
        std::make_unique<Expected>(expect(problem_, operands_[content], false, seed_, threads_));
  }
  return *entry;
}

const std::vector<double>& Contents::original() {
  if (!has_original_) {
    const auto values =
        ReferenceCache::shared().original(problem_, inputs_, expected(0).positions, threads_);
    original_ = values->at(0);
    has_original_ = true;
  }
  return original_;
}

std::string Contents::operand_hash() const {
  std::uint64_t hash = 0;
  for (const HostTensor& slot : operands_[0]) {
    if (slot.present()) hash = hash_bytes({slot.view().data, slot.view().bytes()}, hash);
  }
  return hex(hash);
}

Agreement agreement_of(Contents& contents, std::span<const Tensor> got) {
  const Expected& expected = contents.expected(0);
  const std::vector<double> values = values_at(expected, got);
  const std::vector<double> reference = values_of(expected);
  const std::vector<double>& original = contents.original();
  return {.total = error_metrics(values, original),
          .kernel = error_metrics(values, reference),
          .compression = error_metrics(reference, original)};
}

}  // namespace pareto
