// Products of blocked attention on AMX: 32 rows × one panel of 64 columns, in two halves of 2 × 2
// tiles.
//
// Included inside a `#pragma GCC target` region of AVX-512. Rows of q and of weights are loaded as
// they lie, 32 bf16 a step; panels of K and V, [16 dwords][64 columns] a step, have the layout that
// the AVX-512 tiles read. All 32 rows of a tile are always multiplied: buffers hold whole tiles,
// and a row's result depends on no other row. Tiles are configured once per thread and call.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/amx_tile.h"
#include "kernels/attention/lanes_avx512.h"

namespace pareto {

/// Tiles 0 … 3 hold the sums, 4 and 5 rows, 6 and 7 columns. `Amx` is AmxNative or AmxSoftware.
template <typename Amx>
class AmxAttentionTiles {
 public:
  static constexpr int kRows = 2 * kAmxRows;
  static constexpr int kStepDwords = kAmxRowBytes / 4;

  AmxAttentionTiles() {
    AmxShapes shapes;
    shapes.fill({kAmxRows, kAmxRowBytes});
    amx_.configure(shapes);
  }
  ~AmxAttentionTiles() { amx_.release(); }
  AmxAttentionTiles(const AmxAttentionTiles&) = delete;
  AmxAttentionTiles& operator=(const AmxAttentionTiles&) = delete;

  /// s[32][64] = q · K panel; row_max[rows][16] takes the maxima along. steps: a multiple of 16.
  void score(std::int64_t rows, std::int64_t columns, const std::uint32_t* q, std::int64_t ldq,
             const std::uint32_t* k, std::int64_t steps, float* s, std::int64_t lds,
             float* row_max) {
    for (std::int64_t half = 0; half < columns; half += kColumnsOfHalf) {
      zero();
      multiply(q, ldq, k + half * kLanes, steps);
      store(s + half * kLanes, lds);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      __m512 most = _mm512_loadu_ps(row_max + r * kLanes);
      for (std::int64_t c = 0; c < columns; ++c) {
        most = AttentionLanesAvx512::V::max(most, _mm512_loadu_ps(s + r * lds + c * kLanes));
      }
      _mm512_storeu_ps(row_max + r * kLanes, most);
    }
  }

  /// o[32][64] = alpha[rows] · o + p · V panel. Weights and V are 0 from `steps` to a whole step.
  void value(std::int64_t rows, std::int64_t columns, const std::uint32_t* p, std::int64_t ldp,
             const std::uint32_t* v, std::int64_t steps, float* o, std::int64_t ldo,
             const float* alpha) {
    for (std::int64_t r = 0; r < rows; ++r) {
      const __m512 factor = _mm512_set1_ps(alpha[r]);
      for (std::int64_t c = 0; c < columns; ++c) {
        float* at = o + r * ldo + c * kLanes;
        _mm512_storeu_ps(at, _mm512_mul_ps(factor, _mm512_loadu_ps(at)));
      }
    }
    for (std::int64_t half = 0; half < columns; half += kColumnsOfHalf) {
      load(o + half * kLanes, ldo);
      multiply(p, ldp, v + half * kLanes, steps);
      store(o + half * kLanes, ldo);
    }
  }

 private:
  static constexpr int kLanes = AttentionLanesAvx512::kLanes;
  static constexpr int kPanel = AttentionLanesAvx512::kPanel;
  static constexpr int kColumnsOfHalf = 2;  // registers of 16
  static constexpr std::int64_t kPanelRowBytes = std::int64_t{kPanel} * 4;

  static std::byte* bytes(float* p) { return reinterpret_cast<std::byte*>(p); }

  void zero() {
    amx_.template zero<0>();
    amx_.template zero<1>();
    amx_.template zero<2>();
    amx_.template zero<3>();
  }
  void load(float* c, std::int64_t ldc) {
    amx_.template load<0>(bytes(c), ldc * 4);
    amx_.template load<1>(bytes(c + kLanes), ldc * 4);
    amx_.template load<2>(bytes(c + kAmxRows * ldc), ldc * 4);
    amx_.template load<3>(bytes(c + kAmxRows * ldc + kLanes), ldc * 4);
  }
  void store(float* c, std::int64_t ldc) {
    amx_.template store<0>(bytes(c), ldc * 4);
    amx_.template store<1>(bytes(c + kLanes), ldc * 4);
    amx_.template store<2>(bytes(c + kAmxRows * ldc), ldc * 4);
    amx_.template store<3>(bytes(c + kAmxRows * ldc + kLanes), ldc * 4);
  }
  /// Sums += a[32][steps] · b[steps][32 columns]. Panels stay in L1 or L2 while rows pass.
  void multiply(const std::uint32_t* a, std::int64_t lda, const std::uint32_t* b,
                std::int64_t steps) {
    for (std::int64_t step = 0; step < steps; step += kStepDwords) {
      const auto* rows = reinterpret_cast<const std::byte*>(a + step);
      const auto* columns = reinterpret_cast<const std::byte*>(b + step * kPanel);
      amx_.template load<6>(columns, kPanelRowBytes);
      amx_.template load<4>(rows, lda * 4);
      amx_.template dot_bf16<0, 4, 6>();
      amx_.template load<7>(columns + kAmxRowBytes, kPanelRowBytes);
      amx_.template dot_bf16<1, 4, 7>();
      amx_.template load<5>(rows + kAmxRows * lda * 4, lda * 4);
      amx_.template dot_bf16<2, 5, 6>();
      amx_.template dot_bf16<3, 5, 7>();
    }
  }

  Amx amx_;
};

}  // namespace pareto
