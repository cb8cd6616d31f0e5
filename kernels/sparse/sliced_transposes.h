// What sliced.h transposes: x on its way into panels of tokens, and sums on their way to y. Four by
// four, so that both sides are read and written in runs. Included inside V's target region.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/sparse/panel_tiles.h"

namespace pareto {

/// q[i] lane j becomes q[j] lane i.
template <typename V>
[[gnu::always_inline]] inline void transpose_quads(__m128 (&q)[4]) {
  const __m128 low01 = _mm_unpacklo_ps(q[0], q[1]);
  const __m128 low23 = _mm_unpacklo_ps(q[2], q[3]);
  const __m128 high01 = _mm_unpackhi_ps(q[0], q[1]);
  const __m128 high23 = _mm_unpackhi_ps(q[2], q[3]);
  q[0] = _mm_movelh_ps(low01, low23);
  q[1] = _mm_movehl_ps(low23, low01);
  q[2] = _mm_movelh_ps(high01, high23);
  q[3] = _mm_movehl_ps(high23, high01);
}

/// `count` tokens, whose rows are K apart, to out[columns][tokens]; the last of four tokens may be
/// filled up with zeros.
template <typename V, DType kT>
void pack_tokens_as(const std::byte* x, std::int64_t K, std::int64_t count, std::int64_t columns,
                    std::int64_t tokens, float* out) {
  constexpr std::int64_t kSize = kT == DType::kF32 ? 4 : 2;
  for (std::int64_t t = 0; t < count; t += 4) {
    const std::int64_t here = std::min<std::int64_t>(4, count - t);
    for (std::int64_t k = 0; k < columns; k += 4) {
      const std::int64_t left = std::min<std::int64_t>(4, columns - k);
      __m128 q[4] = {};
      for (std::int64_t i = 0; i < here; ++i) {
        const std::byte* from = x + ((t + i) * K + k) * kSize;
        if (left == 4) {
          q[i] = V::template quad<kT>(from);
        } else {
          alignas(16) std::byte last[16] = {};
          std::memcpy(last, from, static_cast<std::size_t>(left * kSize));
          q[i] = V::template quad<kT>(last);
        }
      }
      transpose_quads<V>(q);
      for (std::int64_t j = 0; j < left; ++j) V::store_quad(out + (k + j) * tokens + t, q[j]);
    }
  }
}

template <typename V>
void pack_tokens(const Tensor& x, std::int64_t m, std::int64_t count, std::int64_t k,
                 std::int64_t columns, std::int64_t tokens, float* out) {
  const std::int64_t K = x.shape[1];
  const std::byte* from = x.data + (m * K + k) * static_cast<std::int64_t>(size_of(x.dtype));
  switch (x.dtype) {
    case DType::kF32:
      return pack_tokens_as<V, DType::kF32>(from, K, count, columns, tokens, out);
    case DType::kBf16:
      return pack_tokens_as<V, DType::kBf16>(from, K, count, columns, tokens, out);
    default:
      return pack_tokens_as<V, DType::kF16>(from, K, count, columns, tokens, out);
  }
}

/// y[m … m + count)[n … n + rows) from c[rows][tokens], by way of tiles that make runs of 256 bytes
/// in y.
template <typename V>
void finish_transposed(const SparseEpilogue& epilogue, std::int64_t m, std::int64_t count,
                       std::int64_t n, std::int64_t rows, const float* c, std::int64_t tokens) {
  constexpr std::int64_t kRows = 64;
  constexpr std::int64_t kTokens = 8;
  float tile[kTokens * kRows] = {};
  for (std::int64_t first = 0; first < rows; first += kRows) {
    const std::int64_t here = std::min(kRows, rows - first);
    for (std::int64_t i = 0; i < count; i += kTokens) {
      for (std::int64_t r = 0; r < here; r += 4) {
        for (std::int64_t t = 0; t < kTokens; t += 4) {
          __m128 q[4];
          for (int j = 0; j < 4; ++j) {
            q[j] = _mm_loadu_ps(c + (first + r + j) * tokens + i + t);
          }
          transpose_quads<V>(q);
          for (int j = 0; j < 4; ++j) V::store_quad(tile + (t + j) * kRows + r, q[j]);
        }
      }
      finish_sums<V>(epilogue, m + i, std::min(kTokens, count - i), n + first, here, tile, kRows);
    }
  }
}

}  // namespace pareto
