// Op attention: slots, shapes and compared positions. The other parts are in
// attention_<part>.cc.
#include "reference/attention.h"

#include <algorithm>
#include <memory>
#include <set>

#include "harness/registry.h"
#include "reference/attention_op.h"
#include "reference/attention_rows.h"
#include "reference/distributions.h"
#include "reference/rotated.h"

namespace pareto {
namespace {

// Bigger problems are compared on a sample.
constexpr double kSampledMultiplyAdds = 2e9;
constexpr std::int64_t kSampledElements = std::int64_t{1} << 22;
constexpr std::int64_t kSampleRows = 64;
constexpr std::int64_t kSampleElements = 4096;

const std::vector<std::string>& slot_list() {
  static const std::vector<std::string> slots = {"q",
                                                 "k",
                                                 "v",
                                                 "q_scale",
                                                 "k_scale",
                                                 "v_scale",
                                                 "bias",
                                                 "allowed",
                                                 "alibi_slopes",
                                                 "sinks",
                                                 "cu_seqlens_q",
                                                 "cu_seqlens_kv",
                                                 "block_table",
                                                 "seqlens_kv"};
  return slots;
}

const std::array<std::string, 11> kInputNames = {"q",
                                                 "k",
                                                 "v",
                                                 "bias",
                                                 "allowed",
                                                 "alibi_slopes",
                                                 "sinks",
                                                 "cu_seqlens_q",
                                                 "cu_seqlens_kv",
                                                 "block_table",
                                                 "seqlens_kv"};

/// LSE is ln N for q = 0: exact for no N but 1, so that bit-for-bit comparison excludes it.
bool all_zero(const Tensor& q) {
  for (std::int64_t i = 0; i < q.elements(); ++i) {
    if (value_at(q, i) != 0) return false;
  }
  return q.elements() > 0;
}

/// Rows of a big problem: a seeded sample, and the border rows of the first and the last head.
std::set<std::int64_t> sample_rows(const AttentionOperands& operands, std::uint64_t seed) {
  static constexpr std::int64_t kBorders[] = {0,  1,   15,  16,  17,  31,  32,  33,  63,
                                              64, 127, 128, 191, 192, 255, 256, 511, 512};
  const AttentionProblem& p = operands.problem();
  const std::int64_t rows = operands.rows();
  const std::int64_t wanted =
      std::max(kSampleRows, kSampleElements / std::max<std::int64_t>(p.head_dim_v, 1));
  std::set<std::int64_t> chosen;
  const std::uint64_t key = stream_key({.distribution = "", .seed = seed}, "positions");
  for (std::int64_t i = 0; i < wanted; ++i) {
    chosen.insert(static_cast<std::int64_t>(
        random_below(key, static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(rows))));
  }
  chosen.insert({0, rows - 1});
  for (const std::int64_t b : {std::int64_t{0}, p.batch - 1}) {
    const AttentionSequence& s = operands.sequence(b);
    for (const std::int64_t i : kBorders) {
      if (i >= s.seq_q) break;
      chosen.insert({s.q_row(0, i), s.q_row(p.heads_q - 1, s.seq_q - 1 - i)});
    }
  }
  return chosen;
}

class Attention : public Op {
 public:
  [[nodiscard]] std::string_view name() const override { return "attention"; }
  [[nodiscard]] std::span<const Key> keys() const override { return attention_keys(); }
  [[nodiscard]] std::span<const std::string> slots() const override { return slot_list(); }

  void complete(Problem& problem) const override {
    const AttentionProblem p = AttentionProblem::from(problem);
    attention_check(p);
    problem.set("batch", p.batch).set("heads_q", p.heads_q).set("heads_kv", p.heads_kv);
    problem.set("seq_q", p.seq_q).set("seq_kv", p.seq_kv);
    problem.set("head_dim", p.head_dim).set("head_dim_v", p.head_dim_v);
  }

  [[nodiscard]] TensorMap draw(const Problem& problem, const Draw& draw) const override {
    return attention_draw(problem, draw);
  }
  [[nodiscard]] std::span<const std::string> input_names() const override { return kInputNames; }
  void adopt(Problem& problem, TensorMap& inputs) const override {
    attention_adopt(problem, inputs);
  }
  void narrow(const Problem& problem, TensorMap& inputs) const override {
    attention_narrow(problem, inputs);
  }
  void vary(const Problem& problem, TensorMap& inputs, std::int64_t content) const override {
    attention_vary(problem, inputs, content);
  }
  [[nodiscard]] Operands encode(const Problem& problem, const TensorMap& inputs) const override {
    return attention_encode(problem, inputs);
  }

  [[nodiscard]] bool persistent(const Problem& problem, int slot) const override {
    if (!AttentionProblem::from(problem).decode()) return false;
    switch (slot) {
      case kAttentionK:
      case kAttentionV:
      case kAttentionKScale:
      case kAttentionVScale:
      case kAttentionCuSeqlensKv:
      case kAttentionBlockTable:
      case kAttentionSeqlensKv:
        return true;
      default:
        return false;
    }
  }

  // Channels move, so that lengths, pages and what is never seen stay where they are.
  [[nodiscard]] Operands rotated(const Problem& problem, const Operands& operands,
                                 std::int64_t by) const override {
    Operands rotated = operands;
    for (const AttentionSlot slot : {kAttentionK, kAttentionV}) {
      if (persistent(problem, slot)) rotated[slot] = rotated_columns(operands[slot], by);
    }
    return rotated;
  }

  [[nodiscard]] std::vector<OutputSpec> outputs(const Problem& problem,
                                                const Operands& operands) const override {
    return attention_outputs(problem, operands);
  }

  [[nodiscard]] Positions positions(const Problem& problem, const Operands& operands,
                                    std::uint64_t seed) const override {
    const AttentionOperands all(AttentionProblem::from(problem), operands);
    const AttentionProblem& p = all.problem();
    const std::int64_t width = p.head_dim_v;
    const double multiply_adds = work(problem, operands).flops / 2;
    Positions positions(kAttentionOutputCount);
    const auto add = [&](std::int64_t row) {
      for (std::int64_t c = 0; c < width; ++c) positions[kAttentionO].push_back(row * width + c);
      positions[kAttentionLse].push_back(row);
    };
    if (multiply_adds > kSampledMultiplyAdds || all.rows() * width > kSampledElements) {
      for (const std::int64_t row : sample_rows(all, seed)) add(row);
    } else {
      for (std::int64_t row = 0; row < all.rows(); ++row) add(row);
    }
    if (all_zero(operands[kAttentionQ].view())) positions[kAttentionLse].clear();
    return positions;
  }

  [[nodiscard]] ReferenceTerms reference(const Problem& problem, const Operands& operands,
                                         const Positions& positions, int threads) const override {
    return attention_reference(problem, operands, positions, threads);
  }
  [[nodiscard]] std::vector<std::vector<double>> original(const Problem& problem,
                                                          const TensorMap& inputs,
                                                          const Positions& positions,
                                                          int threads) const override {
    return attention_original(problem, inputs, positions, threads);
  }
  [[nodiscard]] Bounds bound(const Problem& problem, int output, const Terms& terms,
                             const Arithmetic& arithmetic) const override {
    return attention_bound(problem, output, terms, arithmetic);
  }

  [[nodiscard]] Work work(const Problem& problem, const Operands& operands) const override {
    return attention_work(AttentionProblem::from(problem), operands);
  }
  [[nodiscard]] Work estimate(const Problem& problem) const override {
    return attention_estimate(AttentionProblem::from(problem));
  }

  [[nodiscard]] std::vector<BatteryInput> battery(const Problem& like) const override {
    return attention_battery(like);
  }
  [[nodiscard]] std::vector<Mutant> mutants(const Problem& like) const override {
    return attention_mutants(like);
  }
  [[nodiscard]] Outputs mutate(std::string_view mutant, const Problem& problem,
                               const Operands& operands) const override {
    return attention_mutate(mutant, problem, operands);
  }
};

}  // namespace

std::vector<OutputSpec> attention_outputs(const Problem& problem, const Operands& operands) {
  const AttentionProblem p = AttentionProblem::from(problem);
  const Shape& q = operands[kAttentionQ].shape();
  if (p.ragged_q()) {
    return {{"o", p.out_dtype, {q[0], q[1], p.head_dim_v}}, {"lse", DType::kF32, {q[0], q[1]}}};
  }
  return {{"o", p.out_dtype, {q[0], q[1], q[2], p.head_dim_v}},
          {"lse", DType::kF32, {q[0], q[1], q[2]}}};
}

namespace {
const OpRegistration registration{std::make_unique<Attention>()};
}  // namespace

}  // namespace pareto
