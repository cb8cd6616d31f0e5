// 2^x and the logarithm of the attention kernels, swept on this CPU's instruction sets.
#include <gtest/gtest.h>
#include <immintrin.h>

#include <cstdint>

#include "harness/isa.h"
#include "kernels/attention/packed_kv.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/vector_avx512.h"
#include "tests/kernels/exp2_promises.h"

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

TEST(Exp2Vector, KeepsItsPromises) {
  if ((isa_here() & static_cast<IsaSet>(Isa::kAvx512)) == 0) GTEST_SKIP() << "no AVX-512";
  expect_exp2(exp2_avx512<5>, 0x1p-21);
  expect_exp2(exp2_avx512<4>, 0x1p-17);
}

TEST(LogVector, KeepsItsPromises) {
  if ((isa_here() & static_cast<IsaSet>(Isa::kAvx512)) == 0) GTEST_SKIP() << "no AVX-512";
  expect_log(log_avx512);
}

}  // namespace
}  // namespace pareto
