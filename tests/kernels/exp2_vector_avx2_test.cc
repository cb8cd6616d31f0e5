// 2^x and the logarithm of the AVX2 attention kernels.
#include <gtest/gtest.h>
#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "harness/isa.h"
#include "kernels/attention/kv_rows.h"
#include "kernels/vector_avx2.h"
#include "tests/kernels/exp2_promises.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

#include "kernels/attention/lanes_avx2.h"
#include "kernels/exp2_vector.h"

namespace pareto {
namespace {

float exp2_avx2(float x) {
  return _mm256_cvtss_f32(exp2_vector<5, AttentionAvx2F32>(_mm256_set1_ps(x)));
}

float log_avx2(float x) {
  return AttentionLanesAvx2::first(AttentionLanesAvx2::log(_mm256_set1_ps(x)));
}

#pragma GCC pop_options

TEST(Exp2VectorAvx2, KeepsItsPromises) {
  if ((isa_here() & static_cast<IsaSet>(Isa::kAvx2Fma)) == 0) GTEST_SKIP() << "no AVX2";
  expect_exp2(exp2_avx2, 0x1p-21);
}

TEST(LogVectorAvx2, KeepsItsPromises) {
  if ((isa_here() & static_cast<IsaSet>(Isa::kAvx2Fma)) == 0) GTEST_SKIP() << "no AVX2";
  expect_log(log_avx2);
}

}  // namespace
}  // namespace pareto
