// The bound's terms for integer kernels: what rounding P to integers and q to steps does stays
// within them, and what coarser steps do does not.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "reference/attention_op.h"
#include "reference/attention_rows.h"
#include "tests/reference/attention_problems.h"

namespace pareto {
namespace {

struct Agreement {
  double largest = 0;  ///< error / limit
  double rms = 0;      ///< of error / scale
};

Agreement agreement(const std::vector<double>& got, const std::vector<double>& truth,
                    const Bounds& bounds) {
  Agreement found;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(got[i] - truth[i]);
    if (bounds.det[i] > 0) found.largest = std::max(found.largest, error / bounds.det[i]);
    if (!bounds.stat.empty() && bounds.stat[i] > 0)
      found.rms += error / bounds.stat[i] * (error / bounds.stat[i]);
  }
  found.rms = std::sqrt(found.rms / static_cast<double>(got.size()));
  return found;
}

/// o of all rows with P·v_scale rounded to steps of a power of two, `steps` … 2·steps − 1 of them
/// in the largest of 32 aligned keys; everything else in fp64.
std::vector<double> with_rounded_weights(const Problem& problem, const Operands& operands,
                                         double steps) {
  const AttentionOperands all(AttentionProblem::from(problem), operands);
  const AttentionProblem& p = all.problem();
  std::vector<double> o;
  for (std::int64_t at = 0; at < all.rows(); ++at) {
    const AttentionQuery query = all.locate(at);
    AttentionKv kv;
    AttentionRow row;
    all.load(query.b, p.kv_head(query.head), all.range(query, {}), {}, kv);
    all.softmax(query, kv, {}, row);
    std::vector<double> sums(p.head_dim_v, 0);
    for (std::size_t i = 0; i < row.key.size(); ++i) {
      double largest = 0;
      for (std::size_t j = 0; j < row.key.size(); ++j) {
        if (row.key[j] / kPageKeys != row.key[i] / kPageKeys) continue;
        largest = std::max(largest, row.p[j] * kv.v_scale[row.key[j] - kv.first]);
      }
      const double step = std::exp2(std::floor(std::log2(largest))) / steps;
      const std::int64_t key = row.key[i] - kv.first;
      const double weight = std::rint(row.p[i] * kv.v_scale[key] / step) * step;
      for (std::int64_t c = 0; c < p.head_dim_v; ++c) {
        sums[c] += weight * kv.v[key * p.head_dim_v + c];
      }
    }
    o.insert(o.end(), sums.begin(), sums.end());
  }
  return o;
}

Arithmetic exact_arithmetic() {
  Arithmetic a;
  a.u_acc = a.u_exp = a.u_tanh = 0;
  return a;
}

Problem cached_in_bytes(std::int64_t seq_kv) {
  return attention_problem(
      "seq_q=6 heads_q=4 heads_kv=2 head_dim=32 dtype=fp32 kv_dtype=int8 seq_kv=" +
      std::to_string(seq_kv));
}

class RoundedWeights : public ::testing::TestWithParam<PageCodes> {};

TEST_P(RoundedWeights, StayWithinTheBound) {
  Arithmetic a = exact_arithmetic();
  a.u_p_page = kPageRoundings[GetParam()];
  const double steps = 0.5 / a.u_p_page;
  for (const char* distribution : {"normal", "outlier", "positive", "planted", "uniform"}) {
    for (const std::int64_t keys : {1, 33, 300}) {
      const Problem problem = cached_in_bytes(keys);
      const Operands operands = problem.op().encode(
          problem, problem.op().draw(problem, {.distribution = distribution, .seed = 5}));
      const ReferenceTerms terms =
          problem.op().reference(problem, operands, all_positions(problem, operands), 1);
      const std::vector<double>& truth = terms[kAttentionO].column[kTermValue];
      const Bounds bounds = problem.op().bound(problem, kAttentionO, terms[kAttentionO], a);
      const Agreement fine =
          agreement(with_rounded_weights(problem, operands, steps), truth, bounds);
      EXPECT_LE(fine.largest, 1) << distribution << " " << keys;
      EXPECT_LE(fine.rms, 1) << distribution << " " << keys;
      if (keys < 300) continue;
      const Agreement coarse =
          agreement(with_rounded_weights(problem, operands, steps / 8), truth, bounds);
      EXPECT_GT(coarse.rms, 1) << distribution;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AttentionSteps, RoundedWeights, ::testing::Values(kPageBytes, kPageWords));

TEST(AttentionSteps, WeightsCoarserThanAnyTermHaveNoBound) {
  Arithmetic a = exact_arithmetic();
  a.u_p_page = 2 * kPageRoundings[kPageBytes];
  const Problem problem = cached_in_bytes(1);
  const Operands operands =
      problem.op().encode(problem, problem.op().draw(problem, {.distribution = "normal"}));
  const ReferenceTerms terms =
      problem.op().reference(problem, operands, all_positions(problem, operands), 1);
  EXPECT_THROW(problem.op().bound(problem, kAttentionO, terms[kAttentionO], a), std::logic_error);
}

TEST(AttentionSteps, RoundingQueriesToStepsStaysWithinTheBound) {
  constexpr double kSteps = 127;  // in the largest number of a row
  const Problem problem = cached_in_bytes(200);
  for (const char* distribution : {"normal", "outlier", "positive"}) {
    Operands operands = problem.op().encode(
        problem, problem.op().draw(problem, {.distribution = distribution, .seed = 6}));
    const Positions positions = all_positions(problem, operands);
    const ReferenceTerms terms = problem.op().reference(problem, operands, positions, 1);
    const std::span<float> q = operands[kAttentionQ].span<float>();
    for (std::size_t row = 0; row < q.size(); row += 32) {
      double largest = 0;
      for (std::size_t c = row; c < row + 32; ++c)
        largest = std::max<double>(largest, std::abs(q[c]));
      const double step = largest / kSteps;
      for (std::size_t c = row; c < row + 32; ++c) {
        q[c] = static_cast<float>(std::rint(q[c] / step) * step);
      }
    }
    const ReferenceTerms rounded = problem.op().reference(problem, operands, positions, 1);
    Arithmetic a = exact_arithmetic();
    const auto errors = [&](int output) {
      return agreement(rounded[output].column[0], terms[output].column[0],
                       problem.op().bound(problem, output, terms[output], a));
    };
    a.u_q_step = 0.5 / kSteps + 0x1p-22;
    EXPECT_LE(errors(kAttentionO).largest, 1) << distribution;
    EXPECT_LE(errors(kAttentionO).rms, 1) << distribution;
    a.u_q_step = 0;
    EXPECT_GT(errors(kAttentionO).largest, 1) << distribution;
  }
}

}  // namespace
}  // namespace pareto
