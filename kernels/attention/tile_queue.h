// Products of register tiles, cut into steps that are issued between other work.
//
// Included inside a `#pragma GCC target` region. A tile unit that works beside the vector units is
// kept busy only if both find work in the few hundred instructions that a core looks ahead. Steps
// are therefore handed out evenly over the other work, which goes on after every single product,
// while sums stay in their registers. Those of a finished piece leave them during the first step of
// the next.
#pragma once

#include <cstdint>

#include "kernels/attention/amx_tiles.h"

namespace pareto {

/// c (+)= a · b for one tile of sums. Strides in dwords; b advances by a step as Tiles says.
struct TilePiece {
  const std::uint32_t* a = nullptr;
  std::int64_t lda = 0;
  std::int64_t a_step = 0;
  const std::uint32_t* b = nullptr;
  std::int64_t steps = 0;
  TileSums c;
  bool add = false;
};

/// What may be done between products: nothing.
struct NothingBetween {
  template <int kIndex>
  void operator()(TileProduct<kIndex> /*after*/) const {}
};

/// Pieces in order. Tiles gives step(…), store(sums) and kStepColumnDwords (amx_tiles.h). A loop
/// that issues steps works on a copy, whose members the compiler keeps in registers.
template <typename Tiles>
class TileQueue {
 public:
  /// `room`: for all pieces between two calls of finish(); outlives it, as do the tiles.
  /// `nowhere`: [Tiles::kHalfColumns], for the sums that registers hold at first.
  TileQueue(TilePiece* room, float* nowhere, Tiles& tiles)
      : tiles_(&tiles), pieces_(room), nowhere_{nowhere, 0}, held_{nowhere_} {}

  /// At least one step.
  void push(const TilePiece& piece) {
    pieces_[count_++] = piece;
    left_ += piece.steps;
  }

  /// What is left will be spread over so many calls of `tick`.
  void spread_over(std::int64_t ticks) {
    ticks_ = ticks;
    share_ = left_;
    credit_ = 0;
  }
  /// The steps that are due; between(TileProduct) is called for every product of a step in any
  /// case, beside the products of the last, if any is due. Inlined, as a call would send all vector
  /// registers to memory.
  template <typename Between>
  __attribute__((always_inline)) void tick(const Between& between) {
    for (credit_ += share_; credit_ >= 2 * ticks_ && left_ > 0; credit_ -= ticks_) {
      step(NothingBetween{});
    }
    if (credit_ >= ticks_ && left_ > 0) {
      credit_ -= ticks_;
      step(between);
    } else {
      between(TileProduct<0>{});
      between(TileProduct<1>{});
      between(TileProduct<2>{});
      between(TileProduct<3>{});
    }
  }
  /// Are the sums of all pieces before the last `finish`, and of `more` after it, in memory?
  [[nodiscard]] bool delivered(std::int64_t more) const { return next_ > more; }
  /// They are afterwards.
  void deliver(std::int64_t more) {
    while (left_ > 0 && !delivered(more)) step(NothingBetween{});
    if (!delivered(more)) settle();
  }
  /// All steps that are left. Sums of the last piece stay in registers until the next step, or
  /// `settle`.
  void finish() {
    while (left_ > 0) step(NothingBetween{});
    count_ = next_ = 0;
  }
  /// Sums that are still in registers go to memory. After all steps.
  void settle() {
    if (held_.at == nowhere_.at) return;
    tiles_->store(held_);
    held_ = nowhere_;
  }

 private:
  template <typename Between>
  __attribute__((always_inline)) void step(const Between& between) {
    --left_;
    if (piece_left_ > 0) {
      --piece_left_;
      const std::uint32_t* a = a_;
      const std::uint32_t* b = b_;
      a_ += a_step_;
      b_ += Tiles::kStepColumnDwords;
      tiles_->template step<TileStart::kGoOn>(a, lda_, b, {}, {}, between);
      return;
    }
    const TilePiece& piece = pieces_[next_++];
    piece_left_ = piece.steps - 1;
    a_step_ = piece.a_step;
    lda_ = piece.lda;
    a_ = piece.a + a_step_;
    b_ = piece.b + Tiles::kStepColumnDwords;
    const TileSums out = held_;
    held_ = piece.c;
    if (piece.add) {
      tiles_->template step<TileStart::kLoad>(piece.a, lda_, piece.b, out, held_, between);
    } else {
      tiles_->template step<TileStart::kZero>(piece.a, lda_, piece.b, out, held_, between);
    }
  }

  Tiles* tiles_;
  TilePiece* pieces_;
  TileSums nowhere_;  ///< rows that share one address, lest the first step need a case of its own
  TileSums held_;     ///< where the sums of the last piece belong
  std::int64_t count_ = 0;
  std::int64_t next_ = 0;
  std::int64_t left_ = 0;  ///< steps of all pieces
  // What is left of the piece before the next.
  std::int64_t piece_left_ = 0;
  const std::uint32_t* a_ = nullptr;
  const std::uint32_t* b_ = nullptr;
  std::int64_t lda_ = 0;
  std::int64_t a_step_ = 0;
  std::int64_t ticks_ = 1;
  std::int64_t share_ = 0;  ///< steps for all ticks
  std::int64_t credit_ = 0;
};

}  // namespace pareto
