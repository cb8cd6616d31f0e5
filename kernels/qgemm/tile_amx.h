// One tile of a matrix product on AMX: up to 32 rows × 32 columns as 2 × 2 tiles of 16 × 16, steps
// of 16 dwords of K (64 int8 or 32 bf16).
//
// Both operands are stored as the tile loads read them: a step of a strip is [height][64 bytes], of
// a panel [16 dwords of K][32 columns], the layout of the AVX-512 dot tiles. What comes again soon
// is loaded with tileloadd, what passes by with tileloaddt1, which leaves L1 alone: of two operands
// of 32 KiB, one from L1 and one from L2, the products of a Xeon run at 96 % of their rate in
// registers, with tileloadd for both at 67 %.
//
// Tiles and vectors are worked on by different units, and a core looks some 500 instructions ahead:
// between the steps of one tile the sums of the tile before are finished. To load sums that a part
// of K before has left into tiles would hold up the first products, so they start from 0 and are
// added afterwards, by vectors.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/amx_tile.h"
#include "kernels/qgemm/tile_gemm.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace pareto {

inline constexpr int kAmxStripRows = 32;
inline constexpr int kAmxColumns = 32;
inline constexpr int kAmxStepDwords = 16;
inline constexpr std::int64_t kAmxPanelStepBytes = std::int64_t{kAmxStepDwords} * kAmxColumns * 4;
inline constexpr std::int64_t kAmxSumRowBytes = std::int64_t{kAmxColumns} * 4;

/// Which product: s8 into int32, or bf16 into fp32.
struct AmxS8 {
  template <int kC, int kA, int kB, typename Amx>
  static void dot(Amx& amx) {
    amx.template dot_s8<kC, kA, kB>();
  }
  static __m512i add(__m512i a, __m512i b) { return _mm512_add_epi32(a, b); }
};
struct AmxBf16 {
  template <int kC, int kA, int kB, typename Amx>
  static void dot(Amx& amx) {
    amx.template dot_bf16<kC, kA, kB>();
  }
  static __m512i add(__m512i a, __m512i b) {
    return _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
  }
};

/// Sums of a tile over a part of K that wait for their use, [rows][32].
template <typename Product>
struct WaitingSums {
  TileRect rect;  ///< 0 rows: nothing waits
  std::byte* sums = nullptr;
  std::byte* kept = nullptr;      ///< sums over the parts of K before; null: there are none
  StoreFunction store = nullptr;  ///< null: more of K will come, and `kept` takes the total
  const Epilogue* epilogue = nullptr;

  /// Up to `count` rows from row `first`; returns the first of those left.
  int finish(int first, int count) const {
    const int end = std::min(first + count, rect.rows);
    if (kept != nullptr) {
      std::byte* total = store != nullptr ? sums : kept;
      for (std::int64_t at = first * kAmxSumRowBytes; at < end * kAmxSumRowBytes; at += 64) {
        const __m512i sum =
            Product::add(_mm512_load_si512(kept + at), _mm512_load_si512(sums + at));
        _mm512_store_si512(total + at, sum);
      }
    }
    if (store != nullptr) {
      store(*epilogue, {rect.row + first, rect.column, end - first, rect.columns},
            sums + first * kAmxSumRowBytes);
    }
    return end;
  }
};

/// Lines to be fetched into L2, so many a step.
struct AmxAhead {
  const std::byte* data = nullptr;
  int lines = 0;
};

/// What the loads of a tile find in L1 again.
enum class AmxReused { kStrip, kPanel };

/// Tiles 0…3 hold sums, 4 and 5 the strip, 6 and 7 the panel. Strips below 16 rows use the upper
/// ones alone: the time of a product grows with the rows.
inline AmxShapes amx_shapes(int height) {
  const int upper = std::min(height, kAmxRows);
  AmxShapes shapes{};
  shapes[0] = shapes[1] = shapes[4] = {upper, kAmxRowBytes};
  if (height > upper) shapes[2] = shapes[3] = shapes[5] = {height - upper, kAmxRowBytes};
  shapes[6] = shapes[7] = {kAmxRows, kAmxRowBytes};
  return shapes;
}

/// sums[height][32] = strip · panel with tiles set up for `height` rows (kLower: more than 16),
/// while `other` is finished, which lies elsewhere, and lines are fetched. For every step of the
/// strip the panel has kPieces, which all meet it.
template <typename Product, AmxReused kReused, int kPieces, bool kLower, typename Amx>
void amx_tile(Amx& amx, int height, const std::byte* a, const std::byte* w, std::int64_t steps,
              std::byte* sums, const WaitingSums<Product>& other, AmxAhead ahead) {
  // Fewer would cost more in calls than in rows.
  constexpr std::int64_t kLeastRows = 2;
  const int rows = other.rect.rows;
  const auto rows_per_step = static_cast<int>(
      steps > 0 ? std::max(kLeastRows, (rows + steps - 1) / steps) : std::int64_t{rows});
  int row = 0;
  amx.template zero<0>();
  amx.template zero<1>();
  if constexpr (kLower) {
    amx.template zero<2>();
    amx.template zero<3>();
  }
  for (; steps > 0; --steps) {
    if constexpr (kReused == AmxReused::kPanel) {
      amx.template load_stream<4>(a, kAmxRowBytes);
      if constexpr (kLower) amx.template load_stream<5>(a + kAmxRows * kAmxRowBytes, kAmxRowBytes);
#pragma GCC unroll 2
      for (int piece = 0; piece < kPieces; ++piece, w += kAmxPanelStepBytes) {
        amx.template load<6>(w, kAmxSumRowBytes);
        Product::template dot<0, 4, 6>(amx);
        amx.template load<7>(w + 64, kAmxSumRowBytes);
        Product::template dot<1, 4, 7>(amx);
        if constexpr (kLower) {
          Product::template dot<2, 5, 6>(amx);
          Product::template dot<3, 5, 7>(amx);
        }
      }
    } else {
      static_assert(kPieces == 1);
      amx.template load_stream<6>(w, kAmxSumRowBytes);
      amx.template load_stream<7>(w + 64, kAmxSumRowBytes);
      amx.template load<4>(a, kAmxRowBytes);
      Product::template dot<0, 4, 6>(amx);
      Product::template dot<1, 4, 7>(amx);
      if constexpr (kLower) {
        amx.template load<5>(a + kAmxRows * kAmxRowBytes, kAmxRowBytes);
        Product::template dot<2, 5, 6>(amx);
        Product::template dot<3, 5, 7>(amx);
      }
      w += kAmxPanelStepBytes;
    }
    for (int line = 0; line < ahead.lines; ++line, ahead.data += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(ahead.data), _MM_HINT_T1);
    }
    a += std::int64_t{height} * kAmxRowBytes;
    if (row < rows) row = other.finish(row, rows_per_step);
  }
  if (row < rows) other.finish(row, rows);
  amx.template store<0>(sums, kAmxSumRowBytes);
  amx.template store<1>(sums + 64, kAmxSumRowBytes);
  if constexpr (kLower) {
    std::byte* lower = sums + kAmxRows * kAmxSumRowBytes;
    amx.template store<2>(lower, kAmxSumRowBytes);
    amx.template store<3>(lower + 64, kAmxSumRowBytes);
  }
}

}  // namespace pareto

#pragma GCC pop_options
