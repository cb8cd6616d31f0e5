// Tiles of blocked attention on AMX: 32 rows × half a panel, 32 columns, as 2 × 2 tiles of 16 × 16.
//
// Panels of K and V, [16 dwords][64 columns] a step, have the layout that the AVX-512 tiles read.
// They are used once per tile of rows and stream past L1, which keeps rows of q and of weights (on
// one core 2.1 TFLOP/s instead of 1.4). All 32 rows of a tile are always multiplied: buffers hold
// whole tiles, and a row's result depends on no other row. Tiles are configured once per thread and
// call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/amx_tile.h"
#include "kernels/attention/lanes_avx512.h"

namespace pareto {

/// Where a tile of sums, [32][32], lies in memory.
struct TileSums {
  float* at = nullptr;
  std::int64_t stride = 0;
};

/// Which of a step's products has been issued.
template <int kIndex>
using TileProduct = std::integral_constant<int, kIndex>;

/// What a step does with the sums of the piece before it.
enum class TileStart {
  kGoOn,  ///< adds to them
  kZero,  ///< stores them and begins from nothing
  kLoad   ///< stores them and begins with others
};

/// Tiles 0 … 3 hold the sums, 4 and 5 rows, 6 and 7 columns. `Amx` is AmxNative or AmxSoftware.
template <typename Amx>
class AmxAttentionTiles {
 public:
  static constexpr int kRows = 2 * kAmxRows;
  static constexpr int kHalfColumns = 2 * kAmxRowBytes / 4;
  static constexpr int kStepDwords = kAmxRowBytes / 4;
  static constexpr int kStepProducts = 4;
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

  void store(const TileSums& c) {
    store_part<0>(c);
    store_part<1>(c);
    store_part<2>(c);
    store_part<3>(c);
  }
  /// Sums += a[32][kStepDwords] · b[kStepDwords][32 columns of a panel], with between(TileProduct)
  /// after each of four products. kZero, kLoad: the sums go to `out` first. Every part goes just
  /// before the product that replaces it: four stores in a row would fill the scheduler with
  /// instructions that wait for products, and a quarter of the time would be lost at head_dim 128.
  template <TileStart kStart, typename Between>
  __attribute__((always_inline)) void step(const std::uint32_t* a, std::int64_t lda,
                                           const std::uint32_t* b, const TileSums& out,
                                           const TileSums& in, const Between& between) {
    const auto* rows = reinterpret_cast<const std::byte*>(a);
    const auto* columns = reinterpret_cast<const std::byte*>(b);
    amx_.template load_stream<6>(columns, kPanelRowBytes);
    amx_.template load<4>(rows, lda * 4);
    replace<kStart, 0>(out, in);
    amx_.template dot_bf16<0, 4, 6>();
    between(TileProduct<0>{});
    amx_.template load_stream<7>(columns + kAmxRowBytes, kPanelRowBytes);
    replace<kStart, 1>(out, in);
    amx_.template dot_bf16<1, 4, 7>();
    between(TileProduct<1>{});
    amx_.template load<5>(rows + kAmxRows * lda * 4, lda * 4);
    replace<kStart, 2>(out, in);
    amx_.template dot_bf16<2, 5, 6>();
    between(TileProduct<2>{});
    replace<kStart, 3>(out, in);
    amx_.template dot_bf16<3, 5, 7>();
    between(TileProduct<3>{});
  }

 private:
  static constexpr int kLanes = AttentionLanesAvx512::kLanes;
  static constexpr int kPanel = AttentionLanesAvx512::kPanel;
  static constexpr std::int64_t kPanelRowBytes = std::int64_t{kPanel} * 4;

  template <int kPart>
  static std::byte* part(const TileSums& c) {
    return reinterpret_cast<std::byte*>(c.at + kPart / 2 * kAmxRows * c.stride +
                                        kPart % 2 * kLanes);
  }
  template <int kPart>
  void store_part(const TileSums& c) {
    amx_.template store<kPart>(part<kPart>(c), c.stride * 4);
  }
  template <TileStart kStart, int kPart>
  void replace(const TileSums& out, const TileSums& in) {
    if constexpr (kStart == TileStart::kGoOn) return;
    store_part<kPart>(out);
    if constexpr (kStart == TileStart::kLoad) {
      amx_.template load<kPart>(part<kPart>(in), in.stride * 4);
    } else {
      amx_.template zero<kPart>();
    }
  }

  Amx amx_;
};

}  // namespace pareto
