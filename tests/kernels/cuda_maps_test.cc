// Index arithmetic of the CUDA kernels, on the host.
#include "kernels/cuda_maps.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "reference/attention.h"

namespace pareto {
namespace {

static_assert(ceil_div(0, 256) == 0 && ceil_div(1, 256) == 1 && ceil_div(256, 256) == 1 &&
              ceil_div(257, 256) == 2);

TEST(CudaMaps, MatrixPlacesCoverEveryElementOnce) {
  for (const std::int64_t columns : {1, 5, 256}) {
    std::set<std::pair<std::int64_t, std::int64_t>> seen;
    for (std::int64_t index = 0; index < 3 * columns; ++index) {
      const MatrixPlace place = matrix_place(index, columns);
      EXPECT_LT(place.row, 3);
      EXPECT_LT(place.column, columns);
      EXPECT_EQ(place.row * columns + place.column, index);
      seen.insert({place.row, place.column});
    }
    EXPECT_EQ(seen.size(), 3U * static_cast<std::size_t>(columns));
  }
}

TEST(CudaMaps, MatrixPlacesGoBeyond32Bits) {
  const std::int64_t columns = 70000;
  const MatrixPlace place = matrix_place(columns * columns - 1, columns);
  EXPECT_EQ(place.row, columns - 1);
  EXPECT_EQ(place.column, columns - 1);
}

// Written as the canonical layout says: byte j of a row holds k = 2j low and k = 2j + 1 high.
TEST(CudaMaps, NibblesAreThoseOfTheCanonicalLayout) {
  constexpr std::int64_t kRows = 3;
  for (const std::int64_t columns : {1, 2, 7, 128}) {
    const std::int64_t row_bytes = (columns + 1) / 2;
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(kRows * row_bytes), 0);
    const auto code_at = [](std::int64_t row, std::int64_t k) { return (row * 7 + k * 3) % 16; };
    for (std::int64_t row = 0; row < kRows; ++row) {
      for (std::int64_t k = 0; k < columns; ++k) {
        const auto at = static_cast<std::size_t>(row * row_bytes + k / 2);
        bytes[at] = static_cast<std::uint8_t>(bytes[at] | code_at(row, k) << (4 * (k % 2)));
      }
    }
    for (std::int64_t row = 0; row < kRows; ++row) {
      for (std::int64_t k = 0; k < columns; ++k) {
        const auto at = static_cast<std::size_t>(nibble_byte(row, k, columns));
        ASSERT_LT(at, bytes.size());
        EXPECT_EQ(nibble_of(bytes[at], k), code_at(row, k)) << row << " " << k << " of " << columns;
      }
    }
  }
}

TEST(CudaMaps, CausalKeysAreThoseOfTheReference) {
  for (const AttentionMask mask : {AttentionMask::kCausal, AttentionMask::kCausalTopLeft}) {
    for (const std::int64_t seq_q : {1, 4, 9}) {
      for (const std::int64_t seq_kv : {0, 1, 4, 9}) {
        AttentionProblem problem;
        problem.mask = mask;
        for (std::int64_t i = 0; i < seq_q; ++i) {
          const KeyRange want = problem.visible(i, seq_q, seq_kv);
          const KeySpan got = causal_keys(i + problem.offset(seq_q, seq_kv), seq_kv);
          EXPECT_EQ(got.hi - got.lo, want.size()) << i << " of " << seq_q << ", " << seq_kv;
          if (want.size() > 0) {
            EXPECT_EQ(got.lo, want.lo);
          }
        }
      }
    }
  }
}

TEST(CudaMaps, DenseQueriesFollowTheReferencesRows) {
  AttentionProblem p;
  p.batch = 2;
  p.heads_q = 6;
  p.heads_kv = 3;
  p.seq_q = 5;
  p.seq_kv = 7;
  const AttentionTables none;
  for (std::int64_t b = 0; b < p.batch; ++b) {
    const AttentionSequence sequence = AttentionSequence::of(p, none, b);
    for (std::int64_t h = 0; h < p.heads_q; ++h) {
      for (std::int64_t i = 0; i < p.seq_q; ++i) {
        const DenseQuery query = dense_query(sequence.q_row(h, i), p.seq_q, p.heads_q, p.heads_kv);
        EXPECT_EQ(query.batch, b);
        EXPECT_EQ(query.head_q, h);
        EXPECT_EQ(query.i, i);
        EXPECT_EQ(query.kv_slice * p.seq_kv, sequence.kv_row(p.kv_head(h), 0));
      }
    }
  }
}

}  // namespace
}  // namespace pareto
