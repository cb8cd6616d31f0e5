// Rows of x for the AVX2 tiles, in fp32.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/vector_avx2.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

/// `count` values of fp32, bf16 or fp16 from `source` (not read beyond) as fp32.
inline void widen_avx2(const std::byte* source, DType dtype, std::int64_t count, float* values) {
  const auto bytes = static_cast<std::int64_t>(size_of(dtype));
  std::int64_t k = 0;
  for (; k + 8 <= count; k += 8) {
    _mm256_storeu_ps(values + k, load_float_avx2(source + k * bytes, dtype));
  }
  if (k == count) return;
  std::byte edge[32] = {};
  std::memcpy(edge, source + k * bytes, static_cast<std::size_t>((count - k) * bytes));
  float last[8];
  _mm256_storeu_ps(last, load_float_avx2(edge, dtype));
  std::memcpy(values + k, last, static_cast<std::size_t>(count - k) * sizeof(float));
}

}  // namespace pareto

#pragma GCC pop_options
