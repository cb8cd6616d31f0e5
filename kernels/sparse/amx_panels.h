// Sparse layers on AMX tiles: rows of x are A, panels of 16 or 32 rows of W are B. Included inside
// a `#pragma GCC target` region of AVX-512, after panels.h.
//
// x is packed into strips of up to 32 tokens, two tiles high from 17 tokens on, [step][token][64
// bytes of K]. Threads share the panels. A thread goes through blocks of strips whose x stays in
// L2: where all of K does, panel by panel, else panels in blocks that each meet one part of K after
// the other. How a panel is stored and multiplied is the business of `Weights`.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/amx_tile.h"
#include "kernels/l2_bytes.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/sparse/panel_tiles.h"

namespace pareto {

/// Columns of x and W in one step: a row of a tile.
inline constexpr std::int64_t kAmxStepColumns = kAmxRowBytes / 2;

/// Heights of strips: any up to one tile, then two equal tiles.
inline constexpr auto kAmxStripHeights = [] {
  std::array<int, kAmxRows + kAmxRows / 2> heights{};
  for (int i = 0; i < kAmxRows; ++i) heights[i] = i + 1;
  for (int i = 0; i < kAmxRows / 2; ++i) heights[kAmxRows + i] = kAmxRows + 2 * (i + 1);
  return heights;
}();

/// Steps of a row of K columns; at least one, so that every sum is written.
inline std::int64_t amx_steps(std::int64_t K) {
  return std::max<std::int64_t>(1, (K + kAmxStepColumns - 1) / kAmxStepColumns);
}

/// Part of the work on a block of strips: one panel, some steps of K.
struct AmxPlace {
  std::int64_t panel = 0;
  std::int64_t slot = 0;  ///< of the panel within its block
  std::int64_t step = 0;
  std::int64_t steps = 0;
  bool last = false;  ///< the panel's sums are complete
};

/// The places of panels [begin, end): a block of panels after the other, in it one chunk of K after
/// the other, in that all its panels.
class AmxOrder {
 public:
  AmxOrder(std::int64_t begin, std::int64_t end, std::int64_t block_panels, std::int64_t steps,
           std::int64_t chunk)
      : block_(begin),
        panel_(begin),
        end_(end),
        block_panels_(block_panels),
        steps_(steps),
        chunk_(chunk) {}

  [[nodiscard]] bool done() const { return block_ >= end_; }
  [[nodiscard]] AmxPlace place() const {
    return {panel_, panel_ - block_, step_, std::min(chunk_, steps_ - step_),
            step_ + chunk_ >= steps_};
  }
  /// Each panel's sums can stay where they are from its first place to its last.
  [[nodiscard]] bool panel_by_panel() const { return block_panels_ == 1; }
  void advance() {
    if (++panel_ < block_end()) return;
    panel_ = block_;
    step_ += chunk_;
    if (step_ < steps_) return;
    panel_ = block_ = block_end();
    step_ = 0;
  }

 private:
  [[nodiscard]] std::int64_t block_end() const { return std::min(end_, block_ + block_panels_); }

  std::int64_t block_;  ///< first panel of the block
  std::int64_t panel_;
  std::int64_t end_;
  std::int64_t block_panels_;
  std::int64_t steps_;
  std::int64_t chunk_;
  std::int64_t step_ = 0;
};

/// Tiles of sums of one strip and panel, kHalves of tokens × kColumns of 16 rows of W, numbered
/// from kSet times their number on.
template <typename Amx, int kHalves, int kColumns>
struct AmxSums {
  static constexpr int kTiles = kHalves * kColumns;
  static constexpr std::int64_t kRowBytes = kColumns * kAmxRowBytes;

  template <int kSet>
  static constexpr int tile(int half, int column) {
    return kSet * kTiles + half * kColumns + column;
  }
  template <int kSet>
  static void zero(Amx& amx) {
    zero_each<kSet>(amx, std::make_integer_sequence<int, kTiles>());
  }
  /// c: [kHalves · tile_rows][kColumns · 16].
  template <int kSet>
  static void load(Amx& amx, const float* c, std::int64_t tile_rows) {
    load_each<kSet>(amx, reinterpret_cast<const std::byte*>(c), tile_rows,
                    std::make_integer_sequence<int, kTiles>());
  }
  template <int kSet>
  static void store(Amx& amx, float* c, std::int64_t tile_rows) {
    store_each<kSet>(amx, reinterpret_cast<std::byte*>(c), tile_rows,
                     std::make_integer_sequence<int, kTiles>());
  }

 private:
  static constexpr std::int64_t offset(int i, std::int64_t tile_rows) {
    return i / kColumns * tile_rows * kRowBytes + i % kColumns * kAmxRowBytes;
  }
  template <int kSet, int... kI>
  static void zero_each(Amx& amx, std::integer_sequence<int, kI...> /*tiles*/) {
    (amx.template zero<kSet * kTiles + kI>(), ...);
  }
  template <int kSet, int... kI>
  static void load_each(Amx& amx, const std::byte* c, std::int64_t tile_rows,
                        std::integer_sequence<int, kI...> /*tiles*/) {
    (amx.template load<kSet * kTiles + kI>(c + offset(kI, tile_rows), kRowBytes), ...);
  }
  template <int kSet, int... kI>
  static void store_each(Amx& amx, std::byte* c, std::int64_t tile_rows,
                         std::integer_sequence<int, kI...> /*tiles*/) {
    (amx.template store<kSet * kTiles + kI>(c + offset(kI, tile_rows), kRowBytes), ...);
  }
};

/// A block of strips with a thread's memory for it.
struct AmxStrips {
  const XStrips* x = nullptr;
  std::int64_t first = 0;
  std::int64_t count = 0;
  int panel_rows = 0;
  float* sums = nullptr;         ///< [slot][strip][height][panel_rows]
  std::byte* scratch = nullptr;  ///< what Weights asked for

  [[nodiscard]] int halves() const { return x->height() > kAmxRows ? 2 : 1; }
  [[nodiscard]] std::int64_t tile_rows() const { return x->height() / halves(); }
  /// Bytes of all tokens of a strip in one step.
  [[nodiscard]] std::int64_t step_bytes() const { return std::int64_t{x->height()} * kAmxRowBytes; }
  [[nodiscard]] const std::byte* strip(std::int64_t s) const {
    return reinterpret_cast<const std::byte*>(x->strip(first + s));
  }
  [[nodiscard]] float* sums_of(std::int64_t slot, std::int64_t s) const {
    return sums + (slot * count + s) * x->height() * panel_rows;
  }
};

/// How a thread goes through strips and panels.
struct AmxBlocking {
  std::int64_t strips = 1;
  std::int64_t panels = 1;
  std::int64_t chunk = 1;  ///< steps of K
};

/// Steps of each of the fewest even chunks of up to `most` (the last may be shorter).
inline std::int64_t even_chunk(std::int64_t steps, std::int64_t most) {
  const std::int64_t chunks = (steps + most - 1) / most;
  return (steps + chunks - 1) / chunks;
}

/// Strips in even blocks of up to most_strips. Where their x exceeds what stays in L2, K in chunks
/// of at most `chunk` steps and panels in blocks, so that x is read from L3 once per block.
inline AmxBlocking amx_blocking(const XStrips& x, std::int64_t steps, std::int64_t most_strips,
                                std::int64_t chunk) {
  constexpr std::int64_t kXBytes = 1 << 20;  // half of L2
  constexpr std::int64_t kPanels = 8;
  AmxBlocking b;
  b.strips = even_chunk(std::max<std::int64_t>(1, x.count()), most_strips);
  b.panels = b.strips * x.height() * steps * kAmxRowBytes > kXBytes ? kPanels : 1;
  b.chunk = even_chunk(steps, chunk);
  return b;
}

/// x[m] in whole steps, kAmxRowBytes every `height` times as many.
inline void pack_token_steps(const Tensor& x, std::int64_t m, std::int64_t K, std::int64_t height,
                             float* out) {
  copy_chunks_avx512(x.data + m * K * 2, K * 2, height * kAmxRowBytes,
                     reinterpret_cast<std::byte*>(out));
}

/// As finish_sums, for a y that goes past the caches.
template <typename V>
void finish_past_caches(const SparseEpilogue& e, std::int64_t m, std::int64_t tokens,
                        std::int64_t n, std::int64_t rows, const float* c, int stride) {
  for (std::int64_t i = 0; i < tokens; ++i) {
    float* out = e.y.as<float>() + (m + i) * e.y.shape[1] + n;
    for (std::int64_t j = 0; j < rows; j += V::kLanes) {
      auto y = V::load(c + i * stride + j);
      if (e.bias != nullptr) y = V::add(y, V::load(e.bias + n + j));
      _mm512_stream_ps(out + j, activate_vector<V>(e.activation, y));
    }
  }
}

/// A prepared layer. `Weights` has: panels(), rows() of a panel, bytes(), steps() of K,
/// blocking(x), scratch_bytes(), shapes(tile_rows) and multiply(amx, order, strips, done), which
/// calls done(place) after each place whose panel is complete.
template <typename Amx, typename V, typename Weights>
class AmxSparse : public Prepared {
 public:
  AmxSparse(const SparseProblem& problem, std::span<const Tensor> in, Weights weights, int threads)
      : p_(problem),
        weights_(std::move(weights)),
        x_(problem.M, weights_.steps() * kAmxRowBytes / 4, kAmxStripHeights, kAmxRowBytes / 4),
        blocking_(weights_.blocking(x_)) {
    if (p_.has_bias) bias_ = padded_bias(in[kSparseBias], weights_.rows());
    for (int i = 0; i < threads; ++i) {
      sums_.emplace_back(blocking_.panels * blocking_.strips * x_.height() * weights_.rows());
      scratch_.emplace_back(weights_.scratch_bytes());
    }
  }

  void run(const Call& call) override {
    PanelIsa isa;
    isa.pack_token = &pack_token_steps;
    pack_strips(call.in[kSparseX], p_.M, p_.K, isa, x_, call.pool);
    const SparseEpilogue epilogue{call.out[kSparseY], bias_.data(), p_.activation};
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(weights_.panels(), thread, threads);
      if (begin < end && x_.count() > 0) multiply(thread, begin, end, epilogue);
    });
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return weights_.bytes() + bias_.bytes();
  }

 private:
  void multiply(int thread, std::int64_t begin, std::int64_t end, const SparseEpilogue& epilogue) {
    AmxStrips strips;
    strips.x = &x_;
    strips.panel_rows = weights_.rows();
    strips.sums = sums_[static_cast<std::size_t>(thread)].data();
    strips.scratch = scratch_[static_cast<std::size_t>(thread)].data();
    Amx amx;
    amx.configure(weights_.shapes(static_cast<int>(strips.tile_rows())));
    for (std::int64_t s = 0; s < x_.count(); s += blocking_.strips) {
      strips.first = s;
      strips.count = std::min(blocking_.strips, x_.count() - s);
      const AmxOrder order(begin, end, blocking_.panels, weights_.steps(), blocking_.chunk);
      const auto done = [&](const AmxPlace& place) { finish(strips, place, epilogue); };
      if (strips.halves() == 2) {
        weights_.template multiply<Amx, 2>(amx, order, strips, done);
      } else {
        weights_.template multiply<Amx, 1>(amx, order, strips, done);
      }
    }
    if (goes_past_caches(epilogue.y)) _mm_sfence();
    amx.release();
  }

  void finish(const AmxStrips& strips, const AmxPlace& place,
              const SparseEpilogue& epilogue) const {
    const std::int64_t n = place.panel * strips.panel_rows;
    const std::int64_t rows = std::min<std::int64_t>(strips.panel_rows, p_.N - n);
    const auto finish = goes_past_caches(epilogue.y) ? &finish_past_caches<V> : &finish_sums<V>;
    for (std::int64_t s = 0; s < strips.count; ++s) {
      const std::int64_t strip = strips.first + s;
      finish(epilogue, strip * x_.height(), x_.tokens(strip), n, rows,
             strips.sums_of(place.slot, s), strips.panel_rows);
    }
  }

  SparseProblem p_;
  Weights weights_;
  XStrips x_;
  AmxBlocking blocking_;
  AlignedBuffer<float> bias_;
  std::vector<AlignedBuffer<float>> sums_;         ///< per thread
  std::vector<AlignedBuffer<std::byte>> scratch_;  ///< per thread
};

}  // namespace pareto
