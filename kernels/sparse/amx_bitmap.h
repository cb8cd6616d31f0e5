// W of format bitmap, csr or 2to4 (pair_bitmap.h) for AMX. Included inside a `#pragma GCC target`
// region of AVX-512 with VBMI2, after pair_panels.h.
//
// A pair of columns of 16 rows of W, expanded, is one row of a tile B. While the tiles multiply a
// chunk of K with all strips, the vector unit expands the next one, a few pairs after each step:
// both chunks stay in L1.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

#include "kernels/sparse/amx_panels.h"
#include "kernels/sparse/pair_bitmap.h"
#include "kernels/sparse/pair_panels.h"

namespace pareto {

/// Expands a chunk of a panel of two vectors of rows, [pair][32 rows][2], piece by piece.
template <typename V>
struct ChunkExpander {
  PairBitmapSource<V, 2> source{};
  float* to = nullptr;
  std::int64_t left = 0;  ///< pairs of columns

  [[gnu::always_inline]] void expand(std::int64_t pairs) {
    pairs = std::min(pairs, left);
    left -= pairs;
    for (; pairs > 0; --pairs, to += 2 * V::kLanes) {
      typename V::Reg w[2];
      source.template next<1>(w);
      V::store(to, w[0]);
      V::store(to + V::kLanes, w[1]);
    }
  }
};

template <typename V>
class AmxBitmap {
 public:
  AmxBitmap(const SparseProblem& problem, std::span<const Tensor> in)
      : steps_(amx_steps(problem.K)),
        chunk_(even_chunk(steps_, kChunkSteps)),
        w_(problem, in, 2, steps_ * kStepPairs, chunk_ * kStepPairs) {}

  [[nodiscard]] std::int64_t panels() const { return w_.panels(); }
  [[nodiscard]] static constexpr int rows() { return 2 * V::kLanes; }
  [[nodiscard]] std::int64_t steps() const { return steps_; }
  [[nodiscard]] std::size_t bytes() const { return w_.bytes(); }
  [[nodiscard]] std::int64_t scratch_bytes() const { return 2 * chunk_ * kStepBytes; }
  /// Expanding a step takes as long as multiplying it with about two strips: blocks of many strips
  /// hide it.
  [[nodiscard]] AmxBlocking blocking(const XStrips& x) const {
    return amx_blocking(x, steps_, kBlockStrips, kChunkSteps);
  }
  [[nodiscard]] static AmxShapes shapes(int tile_rows) {
    AmxShapes shapes;
    shapes.fill({tile_rows, kAmxRowBytes});
    shapes[kW] = shapes[kW + 1] = {kAmxRows, kAmxRowBytes};
    return shapes;
  }

  template <typename Amx, int kHalves, typename Done>
  void multiply(Amx& amx, AmxOrder order, const AmxStrips& strips, const Done& done) const {
    using Sums = AmxSums<Amx, kHalves, 2>;
    // One strip: its sums stay in the tiles.
    const bool keeps = strips.count == 1 && order.panel_by_panel();
    const std::int64_t tile_rows = strips.tile_rows();
    std::byte* chunk = strips.scratch;
    std::byte* next_chunk = strips.scratch + chunk_ * kStepBytes;
    ChunkExpander<V> first = expander(order.place(), chunk);
    first.expand(first.left);
    while (!order.done()) {
      const AmxPlace place = order.place();
      order.advance();
      ChunkExpander<V> next;
      if (!order.done()) next = expander(order.place(), next_chunk);
      const std::int64_t share = strips.count * place.steps;
      const std::int64_t pairs = (next.left + share - 1) / share;
      for (std::int64_t s = 0; s < strips.count; ++s) {
        float* sums = strips.sums_of(place.slot, s);
        if (place.step == 0) {
          Sums::template zero<0>(amx);
        } else if (!keeps) {
          Sums::template load<0>(amx, sums, tile_rows);
        }
        multiply_chunk<Amx, kHalves>(amx, place.steps,
                                     strips.strip(s) + place.step * strips.step_bytes(),
                                     tile_rows * kAmxRowBytes, chunk, next, pairs);
        if (place.last || !keeps) Sums::template store<0>(amx, sums, tile_rows);
      }
      if (place.last) done(place);
      std::swap(chunk, next_chunk);
    }
  }

 private:
  static constexpr std::int64_t kStepPairs = kAmxStepColumns / 2;
  static constexpr std::int64_t kStepBytes = kStepPairs * 2 * kAmxRowBytes;
  /// 16 KiB of W, twice, and as much of x: in L1 of 48 KiB.
  static constexpr std::int64_t kChunkSteps = 8;
  static constexpr std::int64_t kBlockStrips = 8;
  static constexpr int kX = 4;  ///< tiles of x, behind those of the sums
  static constexpr int kW = 6;

  [[nodiscard]] ChunkExpander<V> expander(const AmxPlace& place, std::byte* to) const {
    return {{w_.masks(place.panel, place.step * kStepPairs),
             w_.values(place.panel, place.step / chunk_)},
            reinterpret_cast<float*>(to),
            place.steps * kStepPairs};
  }

  /// Sums += x · chunk, and `pairs` of the next chunk per step. From 17 tokens on x does not stay
  /// in L1. Not inlined, so that the loop has all general registers.
  template <typename Amx, int kHalves>
  [[gnu::noinline]] static void multiply_chunk(Amx& amx, std::int64_t steps, const std::byte* x,
                                               std::int64_t tile_bytes, const std::byte* w,
                                               ChunkExpander<V>& next_chunk, std::int64_t pairs) {
    ChunkExpander<V> next = next_chunk;
    using Sums = AmxSums<Amx, kHalves, 2>;
    constexpr std::int64_t kStride = 2 * kAmxRowBytes;
    for (; steps > 0; --steps, x += kHalves * tile_bytes, w += kStepBytes) {
      amx.template load<kW>(w, kStride);
      amx.template load<kW + 1>(w + kAmxRowBytes, kStride);
      if constexpr (kHalves == 1) {
        amx.template load<kX>(x, kAmxRowBytes);
      } else {
        amx.template load_stream<kX>(x, kAmxRowBytes);
      }
      amx.template dot_bf16<Sums::template tile<0>(0, 0), kX, kW>();
      amx.template dot_bf16<Sums::template tile<0>(0, 1), kX, kW + 1>();
      if constexpr (kHalves == 2) {
        amx.template load_stream<kX + 1>(x + tile_bytes, kAmxRowBytes);
        amx.template dot_bf16<Sums::template tile<0>(1, 0), kX + 1, kW>();
        amx.template dot_bf16<Sums::template tile<0>(1, 1), kX + 1, kW + 1>();
      }
      next.expand(pairs);
    }
    next_chunk = next;
  }

  std::int64_t steps_;
  std::int64_t chunk_;  ///< steps, but for the last chunk of a panel
  PairBitmap w_;
};

}  // namespace pareto
