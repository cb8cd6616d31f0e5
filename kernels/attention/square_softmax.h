// The softmax of one square of scores, a tile of rows × half a panel of keys, beside tile products.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy. Logits are in
// units of log 2.
//
// Weights are 2^(logit − shift) with a shift per row that any logit so far is at most kSlack above:
// shifts need not be maxima, since weights are floating-point numbers. So a square needs no maximum
// ahead of its weights, shifts hardly ever move after a row's first keys, and scores need no more
// room than two squares, in L1. Where a shift has to move after all, it moves by a whole number:
// weights that were rounded before are scaled exactly.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/attention/softmax_rows.h"
#include "kernels/attention/task_rows.h"
#include "kernels/attention/tile_queue.h"
#include "kernels/exp2_vector.h"

namespace pareto {

/// Weights up to 2^8: far from overflow, and as exact in bf16, their sums in fp32, as those up
/// to 1.
inline constexpr float kSlack = 8;
/// Two weights that may stand.
inline constexpr float kTwoWeights = 2 * 0x1p8F;

/// What makes logits of a row's scores: logit − shift = factor · score + minus_shift.
struct RowAim {
  float factor = 0;
  float minus_shift = 0;
};

/// Sums of a row's weights, per lane: as they are, for LSE, and as P·V has them, for o. Weights of
/// which one outweighs all others are 1 only by chance, and rounded; divided by the sum of rounded
/// weights o is as exact as if it were.
template <typename T>
struct WeightSums {
  typename T::Reg exact;
  typename T::Reg rounded;
};

/// One square of a tile: scores [tile rows][kKeys], weights [tile rows][kKeys] in words, and
/// WeightSums of each row so far [tile rows][2][lanes].
template <typename T>
struct Square {
  static constexpr std::int64_t kKeys = std::int64_t{T::kPair} * T::kLanes;

  float* scores = nullptr;
  std::uint32_t* weights = nullptr;
  float* sums = nullptr;

  /// The same rows with the keys behind.
  [[nodiscard]] Square next() const {
    return {scores + T::kRows * kKeys, weights + T::kRows * T::kLanes, sums};
  }
  /// Weights of row r, times v_scale if given; returns their sums before v_scale, with which none
  /// are rounded.
  __attribute__((always_inline)) WeightSums<T> weigh(std::int64_t r, const RowAim& aim,
                                                     const float* v_scale) const {
    using V = typename T::V;
    const auto factor = V::set1(aim.factor);
    const auto minus_shift = V::set1(aim.minus_shift);
    const float* s = scores + r * kKeys;
    typename T::Reg p[2] = {
        exp2_vector<T::kExpDegree, V>(V::fma(T::load_floats(s), factor, minus_shift)),
        exp2_vector<T::kExpDegree, V>(V::fma(T::load_floats(s + T::kLanes), factor, minus_shift))};
    const auto sum = V::add(p[0], p[1]);
    if (v_scale == nullptr) return {sum, T::store_summed(weights + r * T::kLanes, p)};
    p[0] = V::mul(p[0], T::load_floats(v_scale));
    p[1] = V::mul(p[1], T::load_floats(v_scale + T::kLanes));
    T::store_weights(weights + r * T::kLanes, p);
    return {sum, sum};
  }
  __attribute__((always_inline)) void add(std::int64_t r, const WeightSums<T>& sum) const {
    float* to = sums_of(r);
    T::store_floats(to, T::V::add(T::load_floats(to), sum.exact));
    T::store_floats(to + T::kLanes, T::V::add(T::load_floats(to + T::kLanes), sum.rounded));
  }
  [[nodiscard]] float* sums_of(std::int64_t r) const { return sums + r * 2 * T::kLanes; }
};

/// Four rows from row r on by the shifts that they have.
template <typename T>
struct PlainRows {
  const Square<T>& square;
  const RowAim* aims;
  std::int64_t r;
  WeightSums<T> (&sums)[4];

  template <int kRow>
  __attribute__((always_inline)) void operator()(TileProduct<kRow> /*after*/) const {
    sums[kRow] = square.weigh(r + kRow, aims[r + kRow], nullptr);
  }
};

/// Weights of the rows of one or two squares, one behind the other, whose logits are factor ·
/// score, with the steps in the queue spread over them; scores of the second are its first piece.
/// Returns how many rows are done: all, if no shift has to move.
template <typename T, typename Queue>
__attribute__((noinline)) std::int64_t weigh_squares(Square<T> square, std::int64_t squares,
                                                     const RowAim* aims, Queue& queue) {
  Queue steps = queue;
  std::int64_t done = 0;
  for (;;) {
    for (std::int64_t r = 0; r < T::kRows; r += 4) {
      WeightSums<T> sums[4];
      steps.tick(PlainRows<T>{square, aims, r, sums});
      // In this order what is not a number is passed over.
      auto most = T::V::set1(0.0F);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) most = T::V::max(sums[i].exact, most);
      if (T::any_above(most, kTwoWeights)) {
        queue = steps;
        return done;
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) square.add(r + i, sums[i]);
      done += 4;
    }
    if (done == squares * T::kRows) break;
    if (!steps.delivered(1)) {
      queue = steps;
      queue.deliver(1);
      steps = queue;
    }
    square = square.next();
  }
  queue = steps;
  return done;
}

/// The largest logit of one row of a square; with options that are more than a factor, and where
/// logits are so large that they have to be rounded first, they take the scores' place and `factor`
/// becomes 1. `key`: the first.
template <typename T>
float largest_logit(const LogitTerms& terms, bool plain, const float* k_scale, std::int64_t key,
                    float* scores, float& factor) {
  factor = terms.factor;
  float most = 0;
  if (plain) {
    most = factor * mask_panels<T>(terms.range, key, scores, 0, Square<T>::kKeys,
                                   -std::numeric_limits<float>::infinity());
    if (!weighs_rounded<T>(most)) return most;
  }
  factor = 1;
  return apply_terms<T>(terms, k_scale, key, scores, 0, Square<T>::kKeys);
}

}  // namespace pareto
