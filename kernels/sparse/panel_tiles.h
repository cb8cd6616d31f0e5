// Tiles of panels.h, written once for all instruction sets. V is SparseAvx512 or SparseAvx2; this
// header is included inside V's `#pragma GCC target` region.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "kernels/activation_vector.h"
#include "kernels/sparse/panels.h"

namespace pareto {

/// Strip heights that tiles of kVectors vectors of rows are made for. 24 sums of 16 lanes leave 8
/// registers for W, x and masks; 12 of 8 lanes leave 4. One vector alone: 16 tokens, beyond which
/// the loads of x leave nothing to gain.
template <typename V, int kVectors>
inline constexpr auto kStripHeights = [] {
  if constexpr (V::kMaxAccumulators < 24 && kVectors == 4) {
    return std::array<int, 2>{1, 2};
  } else if constexpr (V::kMaxAccumulators < 24) {
    return std::array<int, 4>{1, 2, 4, 6};
  } else if constexpr (kVectors == 1) {
    return std::array<int, 7>{1, 2, 4, 6, 8, 12, 16};
  } else if constexpr (kVectors == 2) {
    return std::array<int, 6>{1, 2, 4, 6, 8, 12};
  } else {
    return std::array<int, 4>{1, 2, 4, 6};
  }
}();

/// Vectors of rows side by side for M tokens. Up to 6 tokens, of 8 lanes up to 2, four share each
/// broadcast x; up to 32 tokens, one where strips of 16 are fewer than strips of 12, so that W is
/// expanded once or fewer sums are of tokens that do not exist (32 tokens, 4096², Zen 4, two
/// vectors to one: dense fp32 10.8 to 9.5 ms, bf16 pairs 5.5 to 4.8, fp32 bitmap 13.5 to 11.5);
/// else two.
template <typename V>
int panel_vectors(std::int64_t M) {
  if (V::kMaxAccumulators < 24) return M <= 2 ? 4 : 2;
  constexpr std::int64_t kFew = 6;
  constexpr std::int64_t kTwoVectors = 12;
  constexpr std::int64_t kOneVector = 16;
  if (M <= kFew) return 4;
  const auto strips = [M](std::int64_t height) { return (M + height - 1) / height; };
  return M <= 2 * kOneVector && strips(kOneVector) < strips(kTwoVectors) ? 1 : 2;
}

/// How far ahead a stream of W is prefetched, by hand: the hardware alone is too late where W comes
/// from memory (4096², half zeros: csr, M = 1: 5.5 to 3.2 ms; bf16 bitmap 14336 × 4096, M = 16: 5.5
/// to 4.4 ms).
inline constexpr std::int64_t kAheadBytes = 4096;

/// Fetches what follows `p` in such a stream, for tiles of kRows tokens: with few tokens close by
/// and into L1; with more, the tile is slower than memory, and misses that wait for one of the few
/// buffers of L1 hold it up: far ahead and into L2. (4096², Zen 4, one thread, dense bf16, far
/// instead of near: M = 1 1.14 to 1.33 ms, 4 1.22 to 1.52, 8 1.42 to 1.23, 16 2.59 to 2.39.)
template <int kRows>
[[gnu::always_inline]] inline void fetch_stream(const std::byte* p) {
  constexpr int kMany = 8;
  constexpr std::int64_t kFarBytes = 16 << 10;
  if constexpr (kRows < kMany) {
    __builtin_prefetch(p + kAheadBytes);
  } else {
    __builtin_prefetch(p + kFarBytes, 0, 2);
  }
}

template <typename V, DType kT>
void pack_token_as(const std::byte* x, std::int64_t K, std::int64_t height, float* out) {
  constexpr std::int64_t kSize = kT == DType::kF32 ? 4 : 2;
  std::int64_t k = 0;
  for (; k + 4 <= K; k += 4) {
    V::store_quad(out, V::template quad<kT>(x + k * kSize));
    out += 4 * height;
  }
  if (k == K) return;
  alignas(16) std::byte last[16] = {};
  for (std::int64_t i = 0; i < (K - k) * kSize; ++i) last[i] = x[k * kSize + i];
  V::store_quad(out, V::template quad<kT>(last));
}

template <typename V>
void pack_token(const Tensor& x, std::int64_t m, std::int64_t K, std::int64_t height, float* out) {
  const std::byte* row = x.data + m * K * static_cast<std::int64_t>(size_of(x.dtype));
  switch (x.dtype) {
    case DType::kF32:
      return pack_token_as<V, DType::kF32>(row, K, height, out);
    case DType::kBf16:
      return pack_token_as<V, DType::kBf16>(row, K, height, out);
    default:
      return pack_token_as<V, DType::kF16>(row, K, height, out);
  }
}

template <typename V>
void finish_sums(const SparseEpilogue& e, std::int64_t m, std::int64_t tokens, std::int64_t n,
                 std::int64_t rows, const float* c, int stride) {
  for (std::int64_t i = 0; i < tokens; ++i) {
    for (std::int64_t j = 0; j < rows; j += V::kLanes) {
      auto y = V::load(c + i * stride + j);
      if (e.bias != nullptr) y = V::add(y, V::load(e.bias + n + j));
      y = activate_vector<V>(e.activation, y);
      V::store_out(e.y.data, e.y.dtype, (m + i) * e.y.shape[1] + n + j, rows - j, y);
    }
  }
}

template <typename V, int kVectors = 2>
PanelIsa panel_isa() {
  return {kVectors * V::kLanes, kStripHeights<V, kVectors>, &pack_token<V>, &finish_sums<V>};
}

/// sum += x[…][k]·w of one column; `x` points at that column of the strip's first token.
template <typename V, int kRows, int kVectors, typename Source>
[[gnu::always_inline]] inline void dense_column(Source& source, const float* x,
                                                typename V::Reg (&sum)[kRows][kVectors]) {
  typename V::Reg w[kVectors];
  source.template next<kRows>(w);
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    if constexpr (kVectors == 1) {
      sum[i][0] = V::fma_broadcast(x + i * 4, w[0], sum[i][0]);
      continue;
    }
    const auto a = V::set1(x[i * 4]);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[i][v] = V::fma(a, w[v], sum[i][v]);
  }
}

/// The same for 4·k4 columns.
template <typename V, int kRows, int kVectors, typename Source>
[[gnu::always_inline]] inline void dense_columns(Source& source, const float* x, std::int64_t k4,
                                                 typename V::Reg (&sum)[kRows][kVectors]) {
  for (; k4 > 0; --k4, x += 4 * kRows) {
    if constexpr (V::kUnrollsColumns) {
      dense_column<V>(source, x, sum);
      dense_column<V>(source, x + 1, sum);
      dense_column<V>(source, x + 2, sum);
      dense_column<V>(source, x + 3, sum);
    } else {
#pragma GCC unroll 2
      for (int k = 0; k < 4; ++k) dense_column<V>(source, x + k, sum);
    }
  }
}

/// c[kRows][kVectors · lanes] += x·wᵀ over 4·k4 columns; x is a strip, `source` gives the vectors
/// of one column after the other.
template <typename V, int kRows, int kVectors, typename Source>
void dense_tile(Source source, const float* x, std::int64_t k4, float* c) {
  typename V::Reg sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[i][v] = V::load(c + (i * kVectors + v) * V::kLanes);
  }
  if constexpr (requires { source.start(); }) source.start();
  dense_columns<V>(source, x, k4, sum);
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) V::store(c + (i * kVectors + v) * V::kLanes, sum[i][v]);
  }
}

/// Do pairs of vectors of kT stand in one register's worth of words, so that one instruction widens
/// each?
template <DType kT, int kVectors>
inline constexpr bool kSharesWords = kVectors % 2 == 0 && kT == DType::kBf16;

/// Where value `i` of a group of kVectors vectors stands.
template <typename V, DType kT, int kVectors>
constexpr int place_of_value(int i) {
  constexpr int kPair = 2 * V::kLanes;
  return kSharesWords<kT, kVectors> ? i / kPair * kPair + V::place_of_word(i % kPair) : i;
}

/// kVectors vectors of kT from `p`, as place_of_value says, as fp32.
template <typename V, DType kT, int kVectors>
[[gnu::always_inline]] inline void widen_vectors(const std::byte* p, typename V::Reg* w) {
  constexpr std::int64_t kBytes = V::kLanes * (kT == DType::kF32 ? 4 : 2);
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    if constexpr (!kSharesWords<kT, kVectors>) {
      w[v] = V::template widen<kT>(p + v * kBytes);
    } else if (v % 2 == 0) {
      V::widen_words(p + v * kBytes, w[v], w[v + 1]);
    }
  }
}

/// W as [k][kVectors · lanes] of kT in the order of place_of_value; fetched ahead unless it lies in
/// a cache.
template <typename V, DType kT, int kVectors, bool kFetched = true>
struct StreamSource {
  const std::byte* p;
  template <int kRows>
  void next(typename V::Reg* w) {
    constexpr std::int64_t kBytes = V::kLanes * (kT == DType::kF32 ? 4 : 2);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (kFetched) fetch_stream<kRows>(p + v * kBytes);
    }
    widen_vectors<V, kT, kVectors>(p, w);
    p += kVectors * kBytes;
  }
};

template <typename V, int kVectors, typename Source, std::size_t... kIndex>
void dense_tile_by_index(int height, Source source, const float* x, std::int64_t k4, float* c,
                         std::index_sequence<kIndex...> /*heights*/) {
  using Tile = void (*)(Source, const float*, std::int64_t, float*);
  constexpr Tile kTiles[] = {
      &dense_tile<V, kStripHeights<V, kVectors>[kIndex], kVectors, Source>...};
  for (std::size_t i = 0; i < sizeof...(kIndex); ++i) {
    if (kStripHeights<V, kVectors>[i] == height) kTiles[i](source, x, k4, c);
  }
}

/// dense_tile for any strip height.
template <typename V, int kVectors, typename Source>
void dense_tile_of(int height, Source source, const float* x, std::int64_t k4, float* c) {
  dense_tile_by_index<V, kVectors>(height, source, x, k4, c,
                                   std::make_index_sequence<kStripHeights<V, kVectors>.size()>());
}

}  // namespace pareto
