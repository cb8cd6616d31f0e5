// 2^x and the logarithm of the attention kernels, swept on this CPU's instruction sets.
#include <gtest/gtest.h>
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "harness/isa.h"
#include "kernels/attention/packed_kv.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/vector_avx512.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

#include "kernels/attention/lanes_avx512.h"
#include "kernels/exp2_vector.h"

namespace pareto {
namespace {

template <int kDegree>
float exp2_avx512(float x) {
  return _mm512_cvtss_f32(exp2_vector<kDegree, AttentionAvx512F32>(_mm512_set1_ps(x)));
}

float log_avx512(float x) {
  return AttentionLanesAvx512::first(AttentionLanesAvx512::log(_mm512_set1_ps(x)));
}

#pragma GCC pop_options

template <int kDegree>
void expect_promises(double limit) {
  EXPECT_EQ(exp2_avx512<kDegree>(0.0F), 1.0F);
  EXPECT_EQ(exp2_avx512<kDegree>(-std::numeric_limits<float>::infinity()), 0.0F);
  EXPECT_EQ(exp2_avx512<kDegree>(-400.0F), 0.0F);
  EXPECT_TRUE(std::isnan(exp2_avx512<kDegree>(std::numeric_limits<float>::quiet_NaN())));
  double worst = 0;
  for (std::int64_t i = 0; i < 400000; ++i) {
    const auto x = static_cast<float>(static_cast<double>(i) * -3.1e-4);
    const double want = std::exp2(static_cast<double>(x));
    worst = std::max(worst, std::abs(exp2_avx512<kDegree>(x) - want) / want);
  }
  EXPECT_LT(worst, limit);
}

TEST(Exp2Vector, KeepsItsPromises) {
  if ((isa_here() & static_cast<IsaSet>(Isa::kAvx512)) == 0) GTEST_SKIP() << "no AVX-512";
  expect_promises<5>(0x1p-21);
  expect_promises<4>(0x1p-17);
}

// Sums of weights lie in [1, keys].
TEST(LogVector, KeepsItsPromises) {
  if ((isa_here() & static_cast<IsaSet>(Isa::kAvx512)) == 0) GTEST_SKIP() << "no AVX-512";
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(log_avx512(1.0F), 0.0F);
  EXPECT_EQ(log_avx512(0.0F), -kInfinity);
  EXPECT_TRUE(std::isnan(log_avx512(std::numeric_limits<float>::quiet_NaN())));
  double worst = 0;
  for (std::int64_t i = 0; i < 400000; ++i) {
    const auto x = static_cast<float>(1.0 + static_cast<double>(i) * 1.6e-4);
    const double want = std::log(static_cast<double>(x));
    worst = std::max(worst, std::abs(log_avx512(x) - want) / std::max(want, 0x1p-4));
  }
  EXPECT_LT(worst, 0x1p-22);
}

}  // namespace
}  // namespace pareto
