// Operands with other weights: still operands of their scheme or format, and others than before.
#include "reference/rotated.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "harness/problem.h"
#include "harness/registry.h"
#include "reference/attention.h"
#include "reference/qgemm_operands.h"
#include "reference/qgemm_parts.h"
#include "reference/sparse_formats.h"
#include "reference/sparse_parts.h"

namespace pareto {
namespace {

constexpr std::int64_t kBy = 5;

Operands drawn(Problem& problem) {
  problem.op().complete(problem);
  return problem.op().encode(problem, problem.op().draw(problem, {}));
}

bool same(const HostTensor& a, const HostTensor& b) {
  return a.shape() == b.shape() &&
         std::equal(a.view().data, a.view().data + a.view().bytes(), b.view().data);
}

class RotatedQgemm : public testing::TestWithParam<std::string> {};

TEST_P(RotatedQgemm, HoldsTheRowsOfWInAnotherOrder) {
  Problem problem(find_op("qgemm"));
  problem.set("M", std::int64_t{2}).set("N", std::int64_t{19}).set("K", std::int64_t{300});
  problem.set("scheme", GetParam()).set("bias", std::string("present"));
  const Operands operands = drawn(problem);
  const Operands rotated = problem.op().rotated(problem, operands, kBy);
  EXPECT_TRUE(same(rotated[kQgemmX], operands[kQgemmX]));
  EXPECT_FALSE(same(rotated[kQgemmW], operands[kQgemmW]));
  const QgemmProblem p = QgemmProblem::from(problem);
  std::vector<double> want(static_cast<std::size_t>(p.K));
  std::vector<double> got(want.size());
  for (std::int64_t n = 0; n < p.N; ++n) {
    decode_w_row(p, qgemm_views(operands), (n + kBy) % p.N, want.data());
    decode_w_row(p, qgemm_views(rotated), n, got.data());
    EXPECT_EQ(got, want) << n;
    EXPECT_EQ(rotated[kQgemmBias].value(n), operands[kQgemmBias].value((n + kBy) % p.N));
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, RotatedQgemm, testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const QgemmScheme& scheme : qgemm_schemes()) {
                             names.emplace_back(scheme.name);
                           }
                           return names;
                         }()),
                         [](const auto& scheme) { return scheme.param; });

struct Rows {
  std::string format;
  std::int64_t by;  ///< rows that the first one moves
};

double sparsity_of(const std::string& format) { return format == "2to4" ? 0.5 : 0.7; }

class RotatedSparse : public testing::TestWithParam<Rows> {};

// N and K leave parts of blocks, slices and words over.
TEST_P(RotatedSparse, HoldsTheRowsOfWInAnotherOrder) {
  Problem problem(find_op("sparse"));
  problem.set("M", std::int64_t{2}).set("N", std::int64_t{300}).set("K", std::int64_t{90});
  problem.set("format", GetParam().format).set("sparsity", sparsity_of(GetParam().format));
  problem.set("bias", std::string("present"));
  const Operands operands = drawn(problem);
  const Operands rotated = problem.op().rotated(problem, operands, kBy);
  EXPECT_TRUE(same(rotated[kSparseX], operands[kSparseX]));
  const SparseProblem p = SparseProblem::from(problem);
  const SparseReader before(p, sparse_views(operands));
  const SparseReader after(p, sparse_views(rotated));
  const std::int64_t moving = p.format == SparseFormat::kBsr ? p.N / p.block * p.block : p.N;
  SparseRow want;
  SparseRow got;
  for (std::int64_t n = 0; n < p.N; ++n) {
    before.read(n < moving ? (n + GetParam().by) % moving : n, want);
    after.read(n, got);
    EXPECT_EQ(got.k, want.k) << n;
    EXPECT_EQ(got.value, want.value) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, RotatedSparse,
                         testing::Values(Rows{"csr", kBy}, Rows{"sell", kBy}, Rows{"2to4", kBy},
                                         Rows{"bitmap", kBy}, Rows{"skip_x", kBy},
                                         Rows{"bsr16", 16 * kBy}, Rows{"bsr64", 64 * kBy}),
                         [](const auto& rows) { return rows.param.format; });

// As an encoder would have stored them: the same slots, for every slot of every format.
TEST_P(RotatedSparse, ComesBackAfterAllRows) {
  Problem problem(find_op("sparse"));
  problem.set("M", std::int64_t{1}).set("N", std::int64_t{256}).set("K", std::int64_t{90});
  problem.set("format", GetParam().format).set("sparsity", sparsity_of(GetParam().format));
  const Operands operands = drawn(problem);
  Operands rotated = operands;
  for (int half = 0; half < 2; ++half) rotated = problem.op().rotated(problem, rotated, 128);
  for (std::size_t slot = 0; slot < operands.size(); ++slot) {
    EXPECT_TRUE(same(rotated[slot], operands[slot])) << problem.op().slots()[slot];
  }
}

TEST(RotatedSparse, MovesBothFactorsOfALowRank) {
  Problem problem(find_op("sparse"));
  problem.set("M", std::int64_t{1}).set("N", std::int64_t{20}).set("K", std::int64_t{30});
  problem.set("format", std::string("lowrank")).set("rank", std::int64_t{8});
  const Operands operands = drawn(problem);
  const Operands rotated = problem.op().rotated(problem, operands, kBy);
  EXPECT_EQ(rotated[kSparseA].value(0), operands[kSparseA].value(kBy * 8));
  EXPECT_EQ(rotated[kSparseB].value(0), operands[kSparseB].value(kBy * 30));
}

// Pages, lengths and what nobody sees stay where they are.
TEST(RotatedAttention, MovesTheChannelsOfACache) {
  Problem problem(find_op("attention"));
  problem.set("seq_q", std::int64_t{1}).set("seq_kv", std::int64_t{40});
  problem.set("head_dim", std::int64_t{16}).set("layout", std::string("paged"));
  const Operands operands = drawn(problem);
  const Operands rotated = problem.op().rotated(problem, operands, kBy);
  for (std::size_t slot = 0; slot < operands.size(); ++slot) {
    const bool moves = slot == kAttentionK || slot == kAttentionV;
    EXPECT_EQ(same(rotated[slot], operands[slot]), !moves) << problem.op().slots()[slot];
  }
  EXPECT_EQ(rotated[kAttentionK].value(16 + 15), operands[kAttentionK].value(16 + kBy - 1));
}

TEST(RotatedAttention, LeavesWhatArrivesWithEachCall) {
  Problem problem(find_op("attention"));
  problem.set("seq_q", std::int64_t{32}).set("seq_kv", std::int64_t{32});
  const Operands operands = drawn(problem);
  const Operands rotated = problem.op().rotated(problem, operands, kBy);
  EXPECT_TRUE(same(rotated[kAttentionK], operands[kAttentionK]));
}

}  // namespace
}  // namespace pareto
