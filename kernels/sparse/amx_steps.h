// W in dense steps (step_panels.h), of format bsr or written out, for AMX. Included inside a
// `#pragma GCC target` region of AVX-512, after panel_tiles.h.
//
// Where a strip and a panel are fewer than 2 × 2 tiles, steps take turns in several sets of sums:
// four chains of products hide the latency of one.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/sparse/amx_panels.h"
#include "kernels/sparse/step_panels.h"

namespace pareto {

/// Products of one strip with steps of a panel of kColumns · 16 rows of W.
template <typename Amx, int kHalves, int kColumns>
class AmxStepTile {
 public:
  using Sums = AmxSums<Amx, kHalves, kColumns>;
  static constexpr int kSets = 4 / Sums::kTiles;

  static AmxShapes shapes(int tile_rows) {
    AmxShapes shapes;
    shapes.fill({tile_rows, kAmxRowBytes});
    shapes[kWholeW] = {kAmxRows, kAmxRowBytes};
    if (kColumns == 2) {
      shapes[kWholeW + 1] = {kAmxRows, kAmxRowBytes};
    } else {
      shapes[kHalfX] = {tile_rows, kAmxRowBytes / 2};
      shapes[kHalfW] = {kAmxRows / 2, kAmxRowBytes};
    }
    return shapes;
  }

  /// `x`: a strip of two tiles high, or one, tile_rows each.
  AmxStepTile(Amx& amx, const std::byte* x, std::int64_t tile_rows)
      : amx_(amx), x_(x), tile_rows_(tile_rows) {}

  /// Sums start from c[height][kColumns · 16], or from 0.
  void begin(const float* c, bool from_zero) {
    if (from_zero) {
      Sums::template zero<0>(amx_);
    } else {
      Sums::template load<0>(amx_, c, tile_rows_);
    }
    if constexpr (kSets > 1) Sums::template zero<1>(amx_);
    if constexpr (kSets > 2) Sums::template zero<2>(amx_);
    if constexpr (kSets > 2) Sums::template zero<3>(amx_);
  }
  void multiply_whole(StepPanels::Run run) {
    multiply<true>(run, std::make_integer_sequence<int, kSets>());
  }
  void multiply_half(StepPanels::Run run) {
    static_assert(kColumns == 1);
    multiply<false>(run, std::make_integer_sequence<int, kSets>());
  }
  /// To c; `scratch` takes (kSets − 1) · kSetFloats floats.
  void end(float* c, float* scratch) {
    Sums::template store<0>(amx_, c, tile_rows_);
    if constexpr (kSets > 1) add_set<1>(c, scratch);
    if constexpr (kSets > 2) add_set<2>(c, scratch + kSetFloats);
    if constexpr (kSets > 2) add_set<3>(c, scratch + 2 * kSetFloats);
  }

 private:
  static constexpr std::int64_t kSetFloats = Sums::kTiles * kAmxRows * kAmxRowBytes / 4;
  static constexpr std::int64_t kWStride = std::int64_t{kColumns} * kAmxRowBytes;
  // Behind four tiles of sums. Two columns: x twice, W twice.
  static constexpr int kWholeX = 4;
  static constexpr int kWholeW = kColumns == 2 ? 6 : 5;
  static constexpr int kHalfX = 6;
  static constexpr int kHalfW = 7;

  template <int kSet>
  void add_set(float* c, float* scratch) {
    Sums::template store<kSet>(amx_, scratch, tile_rows_);
    const std::int64_t floats = Sums::kTiles * tile_rows_ * kAmxRowBytes / 4;
    for (std::int64_t i = 0; i < floats; i += 16) {
      _mm512_storeu_ps(c + i, _mm512_add_ps(_mm512_loadu_ps(c + i), _mm512_loadu_ps(scratch + i)));
    }
  }

  template <bool kWhole, int... kSet>
  void multiply(StepPanels::Run run, std::integer_sequence<int, kSet...> /*sets*/) {
    constexpr std::int64_t kBytes = kWStride * (kWhole ? kAmxRows : kAmxRows / 2);
    for (; run.steps >= kSets; run.steps -= kSets, run.at += kSets, run.w += kSets * kBytes) {
      (step<kWhole, kSet>(static_cast<std::uint32_t>(run.at[kSet]), run.w + kSet * kBytes), ...);
    }
    for (; run.steps > 0; --run.steps, ++run.at, run.w += kBytes) {
      step<kWhole, 0>(static_cast<std::uint32_t>(*run.at), run.w);
    }
  }

  template <bool kWhole, int kSet>
  [[gnu::always_inline]] void step(std::uint32_t at, const std::byte* w) {
    const std::int64_t tile_bytes = tile_rows_ * kAmxRowBytes;
    const std::byte* x = x_ + at / 2 * kHalves * tile_bytes + at % 2 * (kAmxRowBytes / 2);
    constexpr int kX = kWhole ? kWholeX : kHalfX;
    constexpr int kW = kWhole ? kWholeW : kHalfW;
    amx_.template load_stream<kW>(w, kWStride);
    if constexpr (kColumns == 2) amx_.template load_stream<kW + 1>(w + kAmxRowBytes, kWStride);
    dot<kSet, 0, kX, kW>(x);
    // With two columns of W, x has a tile of its own for each half.
    if constexpr (kHalves == 2) dot<kSet, 1, kColumns == 2 ? kX + 1 : kX, kW>(x + tile_bytes);
  }
  template <int kSet, int kHalf, int kX, int kW>
  [[gnu::always_inline]] void dot(const std::byte* x) {
    amx_.template load<kX>(x, kAmxRowBytes);
    amx_.template dot_bf16<Sums::template tile<kSet>(kHalf, 0), kX, kW>();
    if constexpr (kColumns == 2) {
      amx_.template dot_bf16<Sums::template tile<kSet>(kHalf, 1), kX, kW + 1>();
    }
  }

  Amx& amx_;
  const std::byte* x_;
  std::int64_t tile_rows_;
};

/// kColumns: of 16 rows in a panel, 1 or 2.
template <int kColumns>
class AmxSteps {
 public:
  /// `steps` of a row of x.
  AmxSteps(std::int64_t steps, StepPanels w) : steps_(steps), w_(std::move(w)) {}

  [[nodiscard]] std::int64_t panels() const { return w_.panels(); }
  [[nodiscard]] static constexpr int rows() { return kColumns * kAmxRows; }
  [[nodiscard]] std::int64_t steps() const { return steps_; }
  [[nodiscard]] std::size_t bytes() const { return w_.bytes(); }
  [[nodiscard]] static constexpr std::int64_t scratch_bytes() {
    return std::int64_t{kAmxTiles} * kAmxRows * kAmxRowBytes;
  }
  [[nodiscard]] AmxBlocking blocking(const XStrips& x) const {
    AmxBlocking blocking = amx_blocking(x, steps_, kBlockStrips, kChunkSteps);
    if (blocking.panels == 1) blocking.chunk = steps_;
    return blocking;
  }
  [[nodiscard]] static AmxShapes shapes(int tile_rows) {
    return AmxStepTile<AmxNative, 2, kColumns>::shapes(tile_rows);
  }

  template <typename Amx, int kHalves, typename Done>
  void multiply(Amx& amx, AmxOrder order, const AmxStrips& strips, const Done& done) const {
    for (; !order.done(); order.advance()) {
      const AmxPlace place = order.place();
      for (std::int64_t s = 0; s < strips.count; ++s) {
        float* sums = strips.sums_of(place.slot, s);
        AmxStepTile<Amx, kHalves, kColumns> tile(amx, strips.strip(s), strips.tile_rows());
        tile.begin(sums, place.step == 0);
        tile.multiply_whole(w_.whole(place.panel, place.step, place.steps));
        if constexpr (kColumns == 1) {
          tile.multiply_half(w_.half(place.panel, place.step, place.steps));
        }
        tile.end(sums, reinterpret_cast<float*>(strips.scratch));
      }
      if (place.last) done(place);
    }
  }

 private:
  /// Of 128 tokens, x of 64 steps is half a MiB; sums of 8 panels an eighth.
  static constexpr std::int64_t kBlockStrips = 4;
  static constexpr std::int64_t kChunkSteps = 64;

  std::int64_t steps_;
  StepPanels w_;
};

}  // namespace pareto
