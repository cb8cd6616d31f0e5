// The loop of attention/cuda_naive, thread by thread.
#include "kernels/attention/warp_attention.cuh"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "tests/emulator/grid.h"

namespace pareto::emulator {
namespace {

using cuda::WarpAttentionSizes;
using Value = std::vector<float>;

// o and lse.
struct Outputs {
  Value o;
  Value lse;
};

std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

std::int64_t batch_of(const WarpAttentionSizes& s) { return s.rows / (s.heads_q * s.seq_q); }

WarpAttentionSizes sizes_of(std::int64_t batch, std::int64_t heads_q, std::int64_t heads_kv,
                            std::int64_t seq_q, std::int64_t seq_kv, std::int64_t head_dim,
                            std::int64_t head_dim_v, bool causal, float scale) {
  return {.rows = batch * heads_q * seq_q,
          .heads_q = heads_q,
          .heads_kv = heads_kv,
          .seq_q = seq_q,
          .seq_kv = seq_kv,
          .head_dim = head_dim,
          .head_dim_v = head_dim_v,
          .offset = seq_kv - seq_q,
          .causal = causal,
          .scale = scale};
}

struct Attention {
  WarpAttentionSizes s;
  Value q;
  Value k;
  Value v;

  // Integers from `lowest` to `lowest` + `count` − 1.
  static Value integers(std::int64_t size, int lowest, int count, unsigned salt) {
    Value all;
    for (std::int64_t i = 0; i < size; ++i) {
      const unsigned drawn = (static_cast<unsigned>(i) * 2654435761U + salt * 40503U) >> 9U;
      all.push_back(static_cast<float>(lowest + static_cast<int>(drawn % unsigned(count))));
    }
    return all;
  }
  Attention(const WarpAttentionSizes& sizes, int q_lowest, int q_count) : s(sizes) {
    const std::int64_t keys = batch_of(s) * s.heads_kv * s.seq_kv;
    q = integers(s.rows * s.head_dim, q_lowest, q_count, 1);
    k = integers(keys * s.head_dim, -4, 9, 2);
    v = integers(keys * s.head_dim_v, -7, 15, 3);
  }

  // Row r of q and every key it may see, in fp64, by the definition: no online softmax, no maps of
  // the kernel.
  [[nodiscard]] Outputs reference() const {
    Outputs out;
    std::int64_t row = 0;
    for (std::int64_t b = 0; b < batch_of(s); ++b) {
      for (std::int64_t h = 0; h < s.heads_q; ++h) {
        const std::int64_t slice = b * s.heads_kv + h * s.heads_kv / s.heads_q;
        for (std::int64_t i = 0; i < s.seq_q; ++i) reference_row(row++, slice, i + s.offset, out);
      }
    }
    return out;
  }
  void reference_row(std::int64_t row, std::int64_t slice, std::int64_t position,
                     Outputs& out) const {
    std::vector<double> logits;
    for (std::int64_t j = 0; j < s.seq_kv && (!s.causal || j <= position); ++j) {
      double dot = 0;
      for (std::int64_t d = 0; d < s.head_dim; ++d) {
        dot += double{q[at(row * s.head_dim + d)]} * k[at((slice * s.seq_kv + j) * s.head_dim + d)];
      }
      logits.push_back(s.scale * dot);
    }
    const double highest = logits.empty() ? 0 : *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    std::vector<double> o(at(s.head_dim_v), 0);
    for (std::size_t j = 0; j < logits.size(); ++j) {
      const double weight = std::exp(logits[j] - highest);
      sum += weight;
      for (std::size_t d = 0; d < o.size(); ++d) {
        o[d] += weight * v[at(slice * s.seq_kv * s.head_dim_v) + j * o.size() + d];
      }
    }
    for (const double each : o) out.o.push_back(static_cast<float>(sum == 0 ? 0 : each / sum));
    out.lse.push_back(static_cast<float>(highest + std::log(sum)));
  }

  [[nodiscard]] Outputs run(std::uint64_t seed) const {
    const GuardedFloats q_in(q);
    const GuardedFloats k_in(k);
    const GuardedFloats v_in(v);
    Outputs out{Value(at(s.rows * s.head_dim_v), -12345), Value(at(s.rows), -12345)};
    const cuda::WarpAttentionOperands<float> operands{q_in.data(), k_in.data(), v_in.data(),
                                                      out.o.data(), out.lse.data()};
    run_grid(s.rows * cuda::kWarpLanes, seed, [&](Lane& lane, std::int64_t index) {
      cuda::warp_attention(lane, index, s, operands);
    });
    return out;
  }
};

std::vector<WarpAttentionSizes> shapes(float scale) {
  return {sizes_of(1, 1, 1, 1, 1, 1, 1, false, scale),
          sizes_of(2, 4, 2, 3, 8, 33, 64, false, scale),
          sizes_of(2, 6, 2, 5, 7, 31, 40, true, scale),     // GQA, odd sizes
          sizes_of(1, 2, 1, 6, 3, 32, 32, true, scale),     // the first queries see nothing
          sizes_of(1, 3, 3, 2, 16, 256, 256, true, scale),  // the largest head
          sizes_of(1, 2, 1, 1, 0, 8, 8, false, scale)};     // no keys at all
}

std::string text_of(const WarpAttentionSizes& s) {
  return std::to_string(s.rows) + " rows, " + std::to_string(s.seq_kv) + " keys, " +
         std::to_string(s.head_dim) + " wide";
}

// Logits are multiples of 512, so that a weight is 1 or 0: o is the mean of the values of the keys
// that share the highest logit. Up to 8 of them: those sums and quotients are within one rounding.
TEST(WarpAttention, FarApartLogitsPickTheReferencesKeys) {
  for (const WarpAttentionSizes& s : shapes(512)) {
    const Attention attention(s, -4, 9);
    const Outputs want = attention.reference();
    const Outputs got = attention.run(3);
    EXPECT_EQ(got.o, want.o) << text_of(s);
    for (std::size_t row = 0; row < want.lse.size(); ++row) {
      // max + log(count), the logarithm far below a unit in the last place of most maxima.
      EXPECT_FLOAT_EQ(got.lse[row], want.lse[row]) << text_of(s) << " row " << row;
    }
  }
}

// q is 0: every weight is 1, and o is the mean of the keys in sight.
TEST(WarpAttention, EqualLogitsGiveTheExactMean) {
  for (const WarpAttentionSizes& s : shapes(1)) {
    const Attention attention(s, 0, 1);
    EXPECT_EQ(attention.run(4).o, attention.reference().o) << text_of(s);
  }
}

// Each rescaling, weight and addition rounds by 2⁻²⁴, and expf by 2 units in the last place: 8
// roundings a key, on values up to 7. The argument of expf is exact: logits are small quarters.
TEST(WarpAttention, CloseLogitsStayWithinTheBound) {
  for (const WarpAttentionSizes& s : shapes(0.25F)) {
    const Attention attention(s, -1, 3);
    const Outputs want = attention.reference();
    const Outputs got = attention.run(5);
    const float bound = static_cast<float>(8 * (s.seq_kv + 1)) * 0x1p-24F;
    for (std::size_t i = 0; i < want.o.size(); ++i) {
      EXPECT_NEAR(got.o[i], want.o[i], 7 * bound) << text_of(s) << " at " << i;
    }
    for (std::size_t row = 0; row < want.lse.size(); ++row) {
      if (std::isinf(want.lse[row])) {
        EXPECT_EQ(got.lse[row], want.lse[row]);
      } else {
        const float roundings = bound + std::abs(want.lse[row]) * 0x1p-23F;
        EXPECT_NEAR(got.lse[row], want.lse[row], roundings) << text_of(s) << " row " << row;
      }
    }
  }
}

// A lane whose partner never comes, or that exchanges with another one: seen.
struct LeavesEarly : Lane {
  explicit LeavesEarly(const Lane& lane) : Lane(lane) {}
  float exchange(float value, int distance) {
    return thread() == 1 ? value : Lane::exchange(value, distance);
  }
};
TEST(WarpAttention, ALaneThatDoesNotExchangeIsSeen) {
  const Attention attention(sizes_of(1, 1, 1, 2, 2, 8, 8, false, 1), -4, 9);
  Outputs out{Value(16), Value(2)};
  const cuda::WarpAttentionOperands<float> operands{
      attention.q.data(), attention.k.data(), attention.v.data(), out.o.data(), out.lse.data()};
  EXPECT_THROW(run_grid(64, 1,
                        [&](Lane& lane, std::int64_t index) {
                          LeavesEarly faulty(lane);
                          cuda::warp_attention(faulty, index, attention.s, operands);
                        }),
               Deadlock);
}

}  // namespace
}  // namespace pareto::emulator
