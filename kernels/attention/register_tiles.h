// Register tiles of blocked attention: kRows rows × one panel of columns, products summed in fp32.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy. An explicit
// broadcast serves all columns: 24 accumulators, 4 loads and one broadcast per step keep both
// multiply-add units of an AVX-512 core busy, and 4 of 5 loads are of the panel, in L1 or L2.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

namespace pareto {

/// acc[R][C] += a[R] · b[C registers]: one step.
template <typename T, int R, int C>
inline __attribute__((always_inline)) void multiply_step(typename T::Reg (&acc)[R][C],
                                                         const std::uint32_t* a, std::int64_t lda,
                                                         const std::uint32_t* b) {
  typename T::Reg w[C];
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) w[c] = T::load(b + c * T::kLanes);
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    const typename T::Reg x = T::broadcast(a + r * lda);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[r][c] = T::multiply_add(acc[r][c], w[c], x);
  }
}

/// acc[R][C] += a[R][steps dwords] · b[steps][ldb dwords], the first C registers of each step.
/// Small tiles sum every second or fourth step apart, lest each wait for the one before.
template <typename T, int R, int C>
inline __attribute__((always_inline)) void multiply_tile(typename T::Reg (&acc)[R][C],
                                                         const std::uint32_t* a, std::int64_t lda,
                                                         const std::uint32_t* b, std::int64_t ldb,
                                                         std::int64_t steps) {
  constexpr int kMore = R * C <= 2 ? 3 : R * C <= 4 ? 1 : 0;
  if constexpr (kMore > 0) {
    typename T::Reg more[kMore][R][C];
#pragma GCC unroll 3
    for (int i = 0; i < kMore; ++i) {
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) more[i][r][c] = T::V::set1(0.0F);
      }
    }
    for (; steps > kMore; steps -= kMore + 1, a += kMore + 1, b += (kMore + 1) * ldb) {
      multiply_step<T, R, C>(acc, a, lda, b);
#pragma GCC unroll 3
      for (int i = 0; i < kMore; ++i) {
        multiply_step<T, R, C>(more[i], a + i + 1, lda, b + (i + 1) * ldb);
      }
    }
#pragma GCC unroll 3
    for (int i = 0; i < kMore; ++i) {
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) acc[r][c] = T::V::add(acc[r][c], more[i][r][c]);
      }
    }
    // Peeled off behind the loop above, these few steps would spill.
#pragma GCC unroll 1
    for (; steps > 0; --steps, ++a, b += ldb) multiply_step<T, R, C>(acc, a, lda, b);
  } else {
    // What counts the steps is a fifth of the instructions of a step.
#pragma GCC unroll 4
    for (; steps > 0; --steps, ++a, b += ldb) multiply_step<T, R, C>(acc, a, lda, b);
  }
}

/// s[R][C registers] = q[R][steps] · K panel, whose steps are ldk apart; row_max[R][lanes] takes
/// the maxima along.
template <typename T, int R, int C>
void score_tile(const std::uint32_t* q, std::int64_t ldq, const std::uint32_t* k, std::int64_t ldk,
                std::int64_t steps, float* s, std::int64_t lds, float* row_max) {
  typename T::Reg acc[R][C];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[r][c] = T::V::set1(0.0F);
  }
  multiply_tile<T, R, C>(acc, q, ldq, k, ldk, steps);
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    typename T::Reg most = T::load_floats(row_max + r * T::kLanes);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      T::store_floats(s + r * lds + c * T::kLanes, acc[r][c]);
      most = T::V::max(most, acc[r][c]);
    }
    T::store_floats(row_max + r * T::kLanes, most);
  }
}

/// o[R][C registers] = alpha[R] · o + p[R][steps] · V panel; without alpha, o is not read.
template <typename T, int R, int C>
void value_tile(const std::uint32_t* p, std::int64_t ldp, const std::uint32_t* v,
                std::int64_t steps, float* o, std::int64_t ldo, const float* alpha) {
  typename T::Reg acc[R][C];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[r][c] = T::V::set1(0.0F);
  }
  if (alpha != nullptr) {
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const typename T::Reg factor = T::V::set1(alpha[r]);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        acc[r][c] = T::V::mul(factor, T::load_floats(o + r * ldo + c * T::kLanes));
      }
    }
  }
  multiply_tile<T, R, C>(acc, p, ldp, v, T::kPanel, steps);
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) T::store_floats(o + r * ldo + c * T::kLanes, acc[r][c]);
  }
}

/// o[R][C registers] = factor[R] · a[R][steps] · b, whose steps are ldb apart; without factor, 1.
template <typename T, int R, int C>
void product_tile(const std::uint32_t* a, std::int64_t lda, const std::uint32_t* b,
                  std::int64_t ldb, std::int64_t steps, float* o, std::int64_t ldo,
                  const float* factor) {
  typename T::Reg acc[R][C];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[r][c] = T::V::set1(0.0F);
  }
  multiply_tile<T, R, C>(acc, a, lda, b, ldb, steps);
  if (factor != nullptr) {
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) acc[r][c] = T::V::mul(acc[r][c], T::V::set1(factor[r]));
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) T::store_floats(o + r * ldo + c * T::kLanes, acc[r][c]);
  }
}

using ScoreTile = void (*)(const std::uint32_t*, std::int64_t, const std::uint32_t*, std::int64_t,
                           std::int64_t, float*, std::int64_t, float*);
using ValueTile = void (*)(const std::uint32_t*, std::int64_t, const std::uint32_t*, std::int64_t,
                           float*, std::int64_t, const float*);
using ProductTile = void (*)(const std::uint32_t*, std::int64_t, const std::uint32_t*, std::int64_t,
                             std::int64_t, float*, std::int64_t, const float*);

/// Tiles of every height and width, at [(rows − 1) · kColumns + columns − 1].
template <typename T, int... kAt>
constexpr std::array<ScoreTile, sizeof...(kAt)> score_tiles(std::integer_sequence<int, kAt...>) {
  return {&score_tile<T, kAt / T::kColumns + 1, kAt % T::kColumns + 1>...};
}
template <typename T, int... kAt>
constexpr std::array<ValueTile, sizeof...(kAt)> value_tiles(std::integer_sequence<int, kAt...>) {
  return {&value_tile<T, kAt / T::kColumns + 1, kAt % T::kColumns + 1>...};
}
template <typename T, int... kAt>
constexpr std::array<ProductTile, sizeof...(kAt)> product_tiles(
    std::integer_sequence<int, kAt...>) {
  return {&product_tile<T, kAt / T::kColumns + 1, kAt % T::kColumns + 1>...};
}

/// Products of one tile: rows ≤ kRows, columns ≤ kColumns in registers.
template <typename T>
class RegisterTiles {
 public:
  void score(std::int64_t rows, std::int64_t columns, const std::uint32_t* q, std::int64_t ldq,
             const std::uint32_t* k, std::int64_t ldk, std::int64_t steps, float* s,
             std::int64_t lds, float* row_max) const {
    kScore[at(rows, columns)](q, ldq, k, ldk, steps, s, lds, row_max);
  }
  void value(std::int64_t rows, std::int64_t columns, const std::uint32_t* p, std::int64_t ldp,
             const std::uint32_t* v, std::int64_t steps, float* o, std::int64_t ldo,
             const float* alpha) const {
    kValue[at(rows, columns)](p, ldp, v, steps, o, ldo, alpha);
  }
  /// For scores and values of a panel that holds all keys.
  static void products(std::int64_t rows, std::int64_t columns, const std::uint32_t* a,
                       std::int64_t lda, const std::uint32_t* b, std::int64_t ldb,
                       std::int64_t steps, float* o, std::int64_t ldo, const float* factor) {
    kProducts[at(rows, columns)](a, lda, b, ldb, steps, o, ldo, factor);
  }

 private:
  using Sequence = std::make_integer_sequence<int, T::kRows * T::kColumns>;
  static constexpr auto kScore = score_tiles<T>(Sequence{});
  static constexpr auto kValue = value_tiles<T>(Sequence{});
  static constexpr auto kProducts = product_tiles<T>(Sequence{});
  static constexpr std::size_t at(std::int64_t rows, std::int64_t columns) {
    return static_cast<std::size_t>((rows - 1) * T::kColumns + columns - 1);
  }
};

}  // namespace pareto
