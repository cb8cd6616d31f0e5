// One element of y per thread from a row of CSR: the loop of sparse/cuda_naive, shared with the
// host emulator (which defines __device__ as nothing). T converts to float.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda_maps.h"

namespace pareto::cuda {

template <typename T>
struct CsrOperands {
  std::int64_t N = 0;
  std::int64_t K = 0;
  const T* x = nullptr;                  ///< [M,K]
  const T* values = nullptr;             ///< of W [N,K], row by row
  const std::int32_t* column = nullptr;  ///< of each value
  const std::int64_t* offset = nullptr;  ///< [N+1]: where the rows of W begin
};

/// Element `index` of x · Wᵀ [M,N], one fp32 chain.
template <typename T>
__device__ float csr_element(std::int64_t index, const CsrOperands<T>& in) {
  const MatrixPlace place = matrix_place(index, in.N);
  const T* x_row = in.x + place.row * in.K;
  const std::int64_t end = in.offset[place.column + 1];
  float sum = 0;
  for (std::int64_t e = in.offset[place.column]; e < end; ++e) {
    sum = fmaf(static_cast<float>(in.values[e]), static_cast<float>(x_row[in.column[e]]), sum);
  }
  return sum;
}

}  // namespace pareto::cuda
