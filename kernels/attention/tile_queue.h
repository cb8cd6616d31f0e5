// Products of register tiles, cut into steps that are issued between other work.
//
// Included inside a `#pragma GCC target` region. A tile unit that works beside the vector units is
// kept busy only if both find work in the few hundred instructions that a core looks ahead: so many
// as the softmax of one row of 512 keys has. Steps are therefore handed out evenly over the other
// work, a few products at a time, while sums stay in their registers.
#pragma once

#include <cstdint>

namespace pareto {

/// c (+)= a · b for one tile of sums. Element strides; a and b advance by a step as Tiles says.
struct TilePiece {
  const std::uint32_t* a = nullptr;
  std::int64_t lda = 0;
  const std::uint32_t* b = nullptr;
  std::int64_t steps = 0;
  float* c = nullptr;
  std::int64_t ldc = 0;
  bool add = false;
};

/// Pieces in order. Tiles gives zero(), load(c, ldc), store(c, ldc), step(a, lda, b), and what a
/// and b advance by in a step: kStepDwords, kStepColumnDwords.
template <typename Tiles>
class TileQueue {
 public:
  /// `room`: for all pieces between two calls of clear(); outlives it, as do the tiles.
  TileQueue(TilePiece* room, Tiles& tiles) : pieces_(room), tiles_(tiles) {}

  /// All pieces are finished.
  void clear() { count_ = next_ = steps_ = credit_ = 0; }
  /// At least one step.
  void push(const TilePiece& piece) {
    pieces_[count_++] = piece;
    steps_ += piece.steps;
  }

  /// `tick` will be called so many times before `finish`.
  void spread_over(std::int64_t ticks) { ticks_ = ticks; }
  /// The steps that are due. Inlined, as a call would send all vector registers to memory.
  __attribute__((always_inline)) void tick() {
    credit_ += steps_;
    while (credit_ >= ticks_) {
      credit_ -= ticks_;
      step();
    }
  }
  /// All that are left.
  void finish() {
    while (next_ < count_) step();
    clear();
  }

 private:
  __attribute__((always_inline)) void step() {
    const TilePiece& piece = pieces_[next_];
    if (done_ == 0) {
      if (piece.add) {
        tiles_.load(piece.c, piece.ldc);
      } else {
        tiles_.zero();
      }
    }
    tiles_.step(piece.a + done_ * Tiles::kStepDwords, piece.lda,
                piece.b + done_ * Tiles::kStepColumnDwords);
    if (++done_ < piece.steps) return;
    tiles_.store(piece.c, piece.ldc);
    done_ = 0;
    ++next_;
  }

  TilePiece* pieces_;
  Tiles& tiles_;
  std::int64_t count_ = 0;
  std::int64_t next_ = 0;
  std::int64_t done_ = 0;   ///< steps of the next piece
  std::int64_t steps_ = 0;  ///< of all pieces
  std::int64_t ticks_ = 1;
  std::int64_t credit_ = 0;
};

}  // namespace pareto
