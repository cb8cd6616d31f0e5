#include "harness/contents.h"

#include <algorithm>
#include <iterator>
#include <random>
#include <utility>

#include "harness/check_battery.h"
#include "harness/hash.h"
#include "harness/reference_cache.h"

namespace pareto {

Contents::Contents(const Problem& problem, const Source& source, int count, int threads)
    : problem_(problem), threads_(threads), seed_(source.seed) {
  inputs_ = original_inputs(problem, source, 0);
  operands_.push_back(problem.op().encode(problem, inputs_));
  twin_ = count > 2 ? flip_place(problem, operands_[0]) : FlipPlace{};
  const int drawn = twin_.slot < 0 ? count : count - 1;
  for (int content = 1; content < drawn; ++content) {
    const TensorMap inputs = original_inputs(problem, source, content);
    Operands mixed =
        with_persistent_of(problem, operands_[0], problem.op().encode(problem, inputs));
    if (mixed.empty()) break;  // shapes differ: this op cannot swap contents in place
    operands_.push_back(std::move(mixed));
  }
  if (twin_.slot >= 0) {
    operands_.push_back(operands_[0]);
    flip_sign(operands_.back()[static_cast<std::size_t>(twin_.slot)].view(), twin_.element);
  }
  expected_.resize(operands_.size());
}

int Contents::twin_of(int content) const {
  const int last = count() - 1;
  if (twin_.slot < 0 || (content != 0 && content != last)) return -1;
  return last - content;
}

const Expected& Contents::expected(int content) {
  std::unique_ptr<Expected>& entry = expected_[content];
  if (entry == nullptr) {
    entry =
        std::make_unique<Expected>(expect(problem_, operands_[content], false, seed_, threads_));
  }
  return *entry;
}

const Expected* Contents::unforeseen() {
  const Expected& usual = expected(0);
  bool all = true;
  for (std::size_t i = 0; i < usual.outputs.size(); ++i) {
    const auto compared = static_cast<std::int64_t>(usual.positions[i].size());
    all = all && compared == usual.outputs[i].shape.elements();
  }
  if (!all && unforeseen_ == nullptr) {
    unforeseen_ = std::make_unique<Expected>(expected_by_chance(operands_[0]));
  }
  return unforeseen_.get();
}

Expected Contents::expected_by_chance(const Operands& operands) {
  constexpr std::size_t kPositions = 512;  // of each output
  std::mt19937_64 chance{std::random_device{}()};
  Positions drawn;
  for (const auto& list : problem_.op().positions(problem_, operands, chance())) {
    std::sample(list.begin(), list.end(), std::back_inserter(drawn.emplace_back()), kPositions,
                chance);
  }
  Expected unforeseen = expected(0);
  // Not through the cache: these positions will not come again.
  unforeseen.terms = std::make_shared<ReferenceTerms>(
      problem_.op().reference(problem_, operands, drawn, threads_));
  unforeseen.positions = std::move(drawn);
  return unforeseen;
}

bool Contents::has_weights() const {
  for (std::size_t slot = 0; slot < operands_[0].size(); ++slot) {
    if (!operands_[0][slot].present()) continue;
    if (problem_.op().persistent(problem_, static_cast<int>(slot))) return true;
  }
  return false;
}

Operands Contents::rotated(int content, std::int64_t by) const {
  return problem_.op().rotated(problem_, operands(content), by);
}

Expected Contents::expected_rotated(int content, std::int64_t by) {
  return expected_by_chance(rotated(content, by));
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
