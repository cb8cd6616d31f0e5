// One element of y per thread: the loops of qgemm/cuda_naive, shared with the host emulator (which
// defines __device__ as nothing). T converts to float.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda_maps.h"

namespace pareto::cuda {

struct ElementSizes {
  std::int64_t M = 0;
  std::int64_t N = 0;
  std::int64_t K = 0;
};

/// Element `index` of x [M,K] · w [N,K]ᵀ, one fp32 chain.
template <typename T>
__device__ float float_element(const ElementSizes& s, std::int64_t index, const T* x, const T* w) {
  const MatrixPlace place = matrix_place(index, s.N);
  const T* x_row = x + place.row * s.K;
  const T* w_row = w + place.column * s.K;
  float sum = 0;
  for (std::int64_t k = 0; k < s.K; ++k) {
    sum = fmaf(static_cast<float>(x_row[k]), static_cast<float>(w_row[k]), sum);
  }
  return sum;
}

/// Element `index` of x codes [M,K] · w codes [N,K]ᵀ, exact.
__device__ inline std::int32_t integer_element(const ElementSizes& s, std::int64_t index,
                                               const std::int8_t* x, const std::int8_t* w) {
  const MatrixPlace place = matrix_place(index, s.N);
  const std::int8_t* x_row = x + place.row * s.K;
  const std::int8_t* w_row = w + place.column * s.K;
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < s.K; ++k) sum += std::int32_t{x_row[k]} * std::int32_t{w_row[k]};
  return sum;
}

/// Element `index` of x [M,K] · w [N,K]ᵀ, w in nibbles [N,⌈K/2⌉] stored +8 with 16-bit scales
/// [N,⌈K/group⌉]. A code of 4 bits times a scale of 11 is exact in fp32.
template <typename T, typename Scale>
__device__ float nibble_element(const ElementSizes& s, std::int64_t group, std::int64_t index,
                                const T* x, const std::uint8_t* w, const Scale* w_scale) {
  const MatrixPlace place = matrix_place(index, s.N);
  const T* x_row = x + place.row * s.K;
  const Scale* scales = w_scale + place.column * ceil_div(s.K, group);
  float sum = 0;
  for (std::int64_t k = 0; k < s.K; ++k) {
    const int code = nibble_of(w[nibble_byte(place.column, k, s.K)], k) - 8;
    const float weight = static_cast<float>(code) * static_cast<float>(scales[k / group]);
    sum = fmaf(static_cast<float>(x_row[k]), weight, sum);
  }
  return sum;
}

}  // namespace pareto::cuda
