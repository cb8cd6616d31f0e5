// Tiles of blocked attention on AMX: 32 rows × half a panel, 32 columns, as 2 × 2 tiles of 16 × 16.
//
// Rows of q and of weights are loaded as they lie, 32 bf16 a step; panels of K and V, [16 dwords]
// [64 columns] a step, have the layout that the AVX-512 tiles read. All 32 rows of a tile are
// always multiplied: buffers hold whole tiles, and a row's result depends on no other row. Tiles
// are configured once per thread and call.
#pragma once

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
  static constexpr int kHalfColumns = 2 * kAmxRowBytes / 4;
  static constexpr int kStepDwords = kAmxRowBytes / 4;
  static constexpr std::int64_t kStepColumnDwords =
      std::int64_t{kStepDwords} * AttentionLanesAvx512::kPanel;

  AmxAttentionTiles() {
    AmxShapes shapes;
    shapes.fill({kAmxRows, kAmxRowBytes});
    amx_.configure(shapes);
  }
  ~AmxAttentionTiles() { amx_.release(); }
  AmxAttentionTiles(const AmxAttentionTiles&) = delete;
  AmxAttentionTiles& operator=(const AmxAttentionTiles&) = delete;

  /// Sums [32][32] from nothing, or from and to memory.
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
  /// Sums += a[32][kStepDwords] · b[kStepDwords][32 columns of a panel].
  void step(const std::uint32_t* a, std::int64_t lda, const std::uint32_t* b) {
    const auto* rows = reinterpret_cast<const std::byte*>(a);
    const auto* columns = reinterpret_cast<const std::byte*>(b);
    amx_.template load<6>(columns, kPanelRowBytes);
    amx_.template load<4>(rows, lda * 4);
    amx_.template dot_bf16<0, 4, 6>();
    amx_.template load<7>(columns + kAmxRowBytes, kPanelRowBytes);
    amx_.template dot_bf16<1, 4, 7>();
    amx_.template load<5>(rows + kAmxRows * lda * 4, lda * 4);
    amx_.template dot_bf16<2, 5, 6>();
    amx_.template dot_bf16<3, 5, 7>();
  }

 private:
  static constexpr int kLanes = AttentionLanesAvx512::kLanes;
  static constexpr int kPanel = AttentionLanesAvx512::kPanel;
  static constexpr std::int64_t kPanelRowBytes = std::int64_t{kPanel} * 4;

  static std::byte* bytes(float* p) { return reinterpret_cast<std::byte*>(p); }

  Amx amx_;
};

}  // namespace pareto
