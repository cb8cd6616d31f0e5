// Register tiles of decode in floating point: up to kRows rows against one page of the KV cache.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy. A step of K
// serves two registers of keys, 2·R sums, and one of V up to C·R; fewer sums take several steps
// side by side, lest they wait for themselves. Tiles read a page from its first byte to its last:
// the hardware prefetchers of Zen 4 then keep up through all phases, while asking for lines ahead
// slowed the stream down (8 KiB ahead: 31 to 24 GB/s), and so did columns out of order (to 18
// GB/s). Those of Zen 3 do not: there T::kAheadBytes asks.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace pareto {

/// The line that is read so much later, once for the reads of `bytes` that fall into it: those at
/// `offset` from a line's beginning.
template <typename T>
[[gnu::always_inline]] inline void fetch_ahead(const std::byte* line, std::int64_t offset,
                                               std::int64_t bytes) {
  if (T::kAheadBytes > 0 && offset % 64 < bytes) {
    __builtin_prefetch(line + offset + T::kAheadBytes, 0, 3);
  }
}

inline constexpr int kScoreRegs = 2;  ///< of keys

/// acc[R][2 registers] += one step of q[R] · K [2 registers].
template <typename T, int R>
[[gnu::always_inline]] inline void decode_score_step(typename T::Reg (&acc)[R][kScoreRegs],
                                                     const std::uint32_t* q, std::int64_t ldq,
                                                     const std::byte* k) {
  typename T::Reg low;
  typename T::Reg high;
  T::load_two(k, low, high);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const auto x = T::broadcast(q + r * ldq);
    acc[r][0] = T::multiply_add(acc[r][0], low, x);
    acc[r][1] = T::multiply_add(acc[r][1], high, x);
  }
}

/// s[R][2 registers] = q[R][steps] · K [steps][2 registers].
template <typename T, int R>
void decode_score_tile(const std::uint32_t* q, std::int64_t ldq, const std::byte* k,
                       std::int64_t steps, float* s, std::int64_t lds) {
  constexpr int kSteps = std::clamp(T::kSums / (2 * R), 1, 4);
  constexpr std::int64_t kStepBytes = kScoreRegs * T::kLoadBytes;
  typename T::Reg acc[kSteps][R][2];
#pragma GCC unroll 4
  for (int u = 0; u < kSteps; ++u) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[u][r][0] = acc[u][r][1] = T::V::set1(0.0F);
  }
  std::int64_t step = 0;
  for (; step + 4 <= steps; step += 4, k += 4 * kStepBytes) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) {
      fetch_ahead<T>(k, u * kStepBytes, kStepBytes);
      decode_score_step<T>(acc[u % kSteps], q + step + u, ldq, k + u * kStepBytes);
    }
  }
  for (; step < steps; ++step, k += kStepBytes) {
    decode_score_step<T>(acc[0], q + step, ldq, k);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int c = 0; c < 2; ++c) {
      typename T::Reg sum = acc[0][r][c];
#pragma GCC unroll 4
      for (int u = 1; u < kSteps; ++u) sum = T::V::add(sum, acc[u][r][c]);
      T::store_floats(s + r * lds + c * T::kLanes, sum);
    }
  }
}

/// o[R][C registers] += one step of p[R] · V [C registers].
template <typename T, int R, int C>
[[gnu::always_inline]] inline void decode_value_step(typename T::Reg (&acc)[R][C],
                                                     const std::uint32_t* p, std::int64_t ldp,
                                                     const std::byte* v) {
  typename T::Reg w[C];
#pragma GCC unroll 4
  for (int c = 0; c + 1 < C; c += 2) T::load_two(v + c * T::kLoadBytes, w[c], w[c + 1]);
  if constexpr (C % 2 == 1) w[C - 1] = T::load_one(v + (C - 1) * T::kLoadBytes);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const auto x = T::broadcast(p + r * ldp);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) acc[r][c] = T::multiply_add(acc[r][c], w[c], x);
  }
}

/// o[R][C registers] += p[R][steps] · V [steps][C registers], `steps` a multiple of 4.
template <typename T, int R, int C>
void decode_value_tile(const std::uint32_t* p, std::int64_t ldp, const std::byte* v,
                       std::int64_t steps, float* o, std::int64_t ldo) {
  // GCC 12 spills constants of the largest tiles where they are unrolled further.
  constexpr int kUnroll = R * C < 24 ? 4 : 1;
  constexpr int kSteps = std::clamp(T::kSums / (R * C), 1, kUnroll);
  typename T::Reg acc[kSteps][R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      acc[0][r][c] = T::load_floats(o + r * ldo + c * T::kLanes);
#pragma GCC unroll 4
      for (int u = 1; u < kSteps; ++u) acc[u][r][c] = T::V::set1(0.0F);
    }
  }
  for (std::int64_t step = 0; step < steps; step += kUnroll, v += kUnroll * C * T::kLoadBytes) {
#pragma GCC unroll 4
    for (int u = 0; u < kUnroll; ++u) {
      fetch_ahead<T>(v, u * C * T::kLoadBytes, C * T::kLoadBytes);
      decode_value_step<T>(acc[u % kSteps], p + step + u, ldp, v + u * C * T::kLoadBytes);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      typename T::Reg sum = acc[0][r][c];
#pragma GCC unroll 4
      for (int u = 1; u < kSteps; ++u) sum = T::V::add(sum, acc[u][r][c]);
      T::store_floats(o + r * ldo + c * T::kLanes, sum);
    }
  }
}

using DecodeScoreTile = void (*)(const std::uint32_t*, std::int64_t, const std::byte*, std::int64_t,
                                 float*, std::int64_t);
using DecodeValueTile = void (*)(const std::uint32_t*, std::int64_t, const std::byte*, std::int64_t,
                                 float*, std::int64_t);

/// Tiles of 1 … kRows rows; values in widths of kColumnStep … kColumns registers.
template <typename T>
class DecodeTiles {
 public:
  static constexpr auto score(std::int64_t rows) { return kScore[rows - 1]; }
  static constexpr auto add_values(std::int64_t rows, std::int64_t columns) {
    return kValue[(rows - 1) * kWidths + columns / T::kColumnStep - 1];
  }

 private:
  static constexpr int kWidths = T::kColumns / T::kColumnStep;

  template <int... kAt>
  static constexpr std::array<DecodeScoreTile, sizeof...(kAt)> scores(
      std::integer_sequence<int, kAt...>) {
    return {&decode_score_tile<T, kAt + 1>...};
  }
  template <int... kAt>
  static constexpr std::array<DecodeValueTile, sizeof...(kAt)> values(
      std::integer_sequence<int, kAt...>) {
    return {&decode_value_tile<T, kAt / kWidths + 1, (kAt % kWidths + 1) * T::kColumnStep>...};
  }

  static constexpr auto kScore = scores(std::make_integer_sequence<int, T::kRows>{});
  static constexpr auto kValue = values(std::make_integer_sequence<int, T::kRows * kWidths>{});
};

}  // namespace pareto
