#include "reference/sparse_formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "harness/errors.h"
#include "reference/distributions.h"
#include "reference/number_formats.h"
#include "reference/prune.h"

namespace pareto {
namespace {

struct Stored {
  SparseProblem problem;
  Operands operands;
  std::vector<Tensor> in;
};

Stored store(SparseFormat format, std::int64_t N, std::int64_t K, DType dtype,
             const std::vector<float>& w, std::int64_t block = 16) {
  Stored stored;
  stored.problem.N = N;
  stored.problem.K = K;
  stored.problem.format = format;
  stored.problem.block = block;
  stored.problem.dtype = dtype;
  stored.operands.resize(kSparseSlotCount);
  encode_sparse_weights(stored.problem, rounded_tensor(w, Shape{N, K}, dtype), stored.operands);
  for (const HostTensor& operand : stored.operands) stored.in.push_back(operand.view());
  return stored;
}

std::vector<float> random_weights(std::int64_t N, std::int64_t K, double sparsity) {
  std::vector<float> w(static_cast<std::size_t>(N * K));
  fill_distribution("normal", stream_key(Draw{}, "w"), w);
  prune_magnitude(w, sparsity);
  return w;
}

void expect_round_trip(const Stored& stored, const std::vector<float>& w) {
  const SparseReader reader(stored.problem, stored.in);
  const HostTensor dense =
      rounded_tensor(w, Shape{stored.problem.N, stored.problem.K}, stored.problem.dtype);
  SparseRow row;
  std::int64_t nonzeros = 0;
  for (std::int64_t n = 0; n < stored.problem.N; ++n) {
    reader.read(n, row);
    std::size_t i = 0;
    for (std::int64_t k = 0; k < stored.problem.K; ++k) {
      const double value = dense.value(n * stored.problem.K + k);
      if (value == 0) continue;
      ASSERT_LT(i, row.k.size());
      EXPECT_EQ(row.k[i], k);
      EXPECT_EQ(row.value[i], value);
      ++i;
    }
    EXPECT_EQ(i, row.k.size()) << "row " << n;
    nonzeros += static_cast<std::int64_t>(i);
  }
  EXPECT_EQ(reader.nonzeros(), nonzeros);
}

TEST(SparseFormats, RoundTripAtEdges) {
  for (const auto& [N, K] : {std::pair<std::int64_t, std::int64_t>{1, 1},
                             {17, 63},
                             {16, 64},
                             {33, 65},
                             {300, 7},
                             {5, 130},
                             {129, 257}}) {
    for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF16}) {
      std::vector<float> w = random_weights(N, K, 0.6);
      for (const SparseFormat format :
           {SparseFormat::kCsr, SparseFormat::kSell, SparseFormat::kBitmap}) {
        expect_round_trip(store(format, N, K, dtype, w), w);
      }
      for (const std::int64_t block : {16, 32, 64, 128}) {
        expect_round_trip(store(SparseFormat::kBsr, N, K, dtype, w, block), w);
      }
      prune_n_of_m(w, N, K, 2, 4);
      expect_round_trip(store(SparseFormat::k2to4, N, K, dtype, w), w);
    }
  }
}

TEST(SparseFormats, EmptyAndFullMatrices) {
  for (const SparseFormat format : {SparseFormat::kCsr, SparseFormat::kSell, SparseFormat::kBsr,
                                    SparseFormat::k2to4, SparseFormat::kBitmap}) {
    const std::vector<float> zeros(18 * 66, -0.0F);
    expect_round_trip(store(format, 18, 66, DType::kF32, zeros), zeros);
    expect_round_trip(store(format, 0, 66, DType::kF32, {}), {});
    expect_round_trip(store(format, 18, 0, DType::kF32, {}), {});
    if (format == SparseFormat::k2to4) continue;
    const std::vector<float> full = random_weights(18, 66, 0);
    expect_round_trip(store(format, 18, 66, DType::kF32, full), full);
  }
}

TEST(SparseFormats, NanIsStoredAndZerosOfBothSignsAreNot) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Stored stored = store(SparseFormat::kCsr, 1, 4, DType::kBf16, {-0.0F, nan, 0.0F, 2.0F});
  EXPECT_EQ(stored.operands[kSparseValues].elements(), 2);
  EXPECT_TRUE(std::isnan(stored.operands[kSparseValues].value(0)));
  EXPECT_EQ(stored.operands[kSparseIndex].value(1), 3);
}

TEST(SparseFormats, TwoToFourNibblesAreLegalAndFilledFromTheLowestPlace) {
  const std::vector<float> w = {0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 5, 0, 0, 3, 0, 4, 9};
  const Stored stored = store(SparseFormat::k2to4, 1, 17, DType::kF32, w);
  const auto meta = stored.operands[kSparseMeta].span<std::uint8_t>();
  ASSERT_EQ(meta.size(), 3U);
  EXPECT_EQ(meta[0], 0x44);  // {0,1}, {0,1}
  EXPECT_EQ(meta[1], 0xd8);  // {0,2}, {1,3}
  EXPECT_EQ(meta[2], 0x44);  // {0,1} with k = 17 beyond K, and no sixth group
  const auto values = stored.operands[kSparseValues].span<float>();
  const std::vector<float> packed(values.begin(), values.end());
  EXPECT_EQ(packed, (std::vector<float>{0, 0, 7, 0, 0, 5, 3, 4, 9, 0}));
}

TEST(SparseFormats, TwoToFourRefusesAThirdNonzero) {
  try {
    store(SparseFormat::k2to4, 2, 8, DType::kF32,
          {0, 0, 0, 0, 0, 0, 0, 0,  //
           0, 0, 0, 0, 1, 2, 0, 3});
    FAIL();
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("row 1, columns 4 to 7"), std::string::npos);
  }
}

TEST(SparseFormats, SellSortsWithinWindowsAndPads) {
  std::vector<float> w(static_cast<std::size_t>(20 * 8), 0.0F);
  for (std::int64_t n = 0; n < 20; ++n) {
    for (std::int64_t k = 0; k < n % 5; ++k) w[static_cast<std::size_t>(n * 8 + k)] = 1.0F;
  }
  const Stored stored = store(SparseFormat::kSell, 20, 8, DType::kF32, w);
  const auto rows = stored.operands[kSparseRow].span<std::int32_t>();
  const auto lengths = stored.operands[kSparseRowLength].span<std::int32_t>();
  const auto offset = stored.operands[kSparseOffset].span<std::int64_t>();
  ASSERT_EQ(rows.size(), 32U);
  EXPECT_EQ(rows[0], 4);  // the lower of equals first
  EXPECT_EQ(rows[1], 9);
  EXPECT_EQ(lengths[0], 4);
  EXPECT_EQ(rows[20], -1);
  EXPECT_EQ(offset[1], 16 * 4);
  EXPECT_EQ(offset[2], 16 * 4);  // the last four rows are empty
}

TEST(SparseFormats, EdgeBlocksAreStoredWhole) {
  std::vector<float> w(static_cast<std::size_t>(17 * 17), 0.0F);
  w.back() = 3.0F;
  const Stored stored = store(SparseFormat::kBsr, 17, 17, DType::kF16, w, 16);
  EXPECT_EQ(stored.operands[kSparseValues].shape(), (Shape{1, 16, 16}));
  EXPECT_EQ(stored.operands[kSparseValues].value(0), 3.0);
  EXPECT_EQ(stored.operands[kSparseIndex].value(0), 1);
}

}  // namespace
}  // namespace pareto
