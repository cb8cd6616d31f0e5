// P·V over up to 4 keys, all columns of a row in one loop.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy.
//
// Where panels of columns are narrow, a call of a register tile for each of them would take longer
// than the products of so few keys.
#pragma once

#include <cstdint>

#include "kernels/attention/short_kv.h"

namespace pareto {

/// o[rows][columns] = factor[rows] · p[rows][N] · V, whole registers of columns.
template <typename T, int N>
void narrow_product(std::int64_t rows, std::int64_t columns, const std::uint32_t* p,
                    std::int64_t ldp, const float* factor, const ShortKv<T>& kv, float* o,
                    std::int64_t ldo) {
  using Reg = typename T::Reg;
  for (std::int64_t r = 0; r < rows; ++r, p += ldp, o += ldo) {
    const Reg scale = T::V::set1(factor[r]);
    Reg w[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) w[n] = T::V::mul(scale, T::broadcast(p + n));
    for (std::int64_t c = 0; c < columns; c += T::kLanes) {
      const std::uint32_t* v = kv.v + c / T::kPanel * kv.v_panel + c % T::kPanel;
      Reg sum = T::V::mul(w[0], T::load(v));
#pragma GCC unroll 4
      for (int n = 1; n < N; ++n) sum = T::multiply_add(sum, w[n], T::load(v + n * kv.v_stride));
      T::store_floats(o + c, sum);
    }
  }
}

/// The same for 1 to 4 keys.
template <typename T>
void narrow_products(std::int64_t rows, std::int64_t keys, std::int64_t columns,
                     const std::uint32_t* p, std::int64_t ldp, const float* factor,
                     const ShortKv<T>& kv, float* o, std::int64_t ldo) {
  switch (keys) {
    case 1:
      return narrow_product<T, 1>(rows, columns, p, ldp, factor, kv, o, ldo);
    case 2:
      return narrow_product<T, 2>(rows, columns, p, ldp, factor, kv, o, ldo);
    case 3:
      return narrow_product<T, 3>(rows, columns, p, ldp, factor, kv, o, ldo);
    default:
      return narrow_product<T, 4>(rows, columns, p, ldp, factor, kv, o, ldo);
  }
}

}  // namespace pareto
