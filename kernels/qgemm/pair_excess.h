// Codes of x as vpmaddubsw can take them: it multiplies 32 unsigned bytes of W with 32 signed ones
// of x and adds every two products, but saturates at 16 bits.
//
//   |w0·x0 + w1·x1| ≤ 255·128 fits as long as −128 ≤ x0 + x1 ≤ 128 for x of one sign, whatever w
//   is.
//
// Of rows with one scale few pairs are larger, for a row's largest code is 127 (normal values,
// K = 4096: 0.6 %; of activations with outliers fewer still). What those have too much is taken out
// of the codes and listed here, row by row, and its products are added when a tile is finished: the
// sums stay exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "harness/aligned_buffer.h"

namespace pareto {

class PairExcess {
 public:
  static constexpr std::int64_t kStepCodes = 4;

  /// Codes of K from kStepCodes · step on; of each pair at least one is 0.
  struct Entry {
    std::int32_t step = 0;
    std::int8_t codes[kStepCodes] = {};
  };

  PairExcess() = default;
  /// For a quarter of the steps of `rows` rows of K codes: with more of them the products of
  /// widened codes are as fast.
  PairExcess(std::int64_t rows, std::int64_t K)
      : capacity_(K / kStepCodes / 4 + 1), counts_(rows), entries_(rows * capacity_) {}

  void clear(std::int64_t row) { counts_[row] = 0; }
  /// Moves the excess of row `row`'s codes[kStepCodes], those of `step`, here; false if there is
  /// no room for it.
  bool take(std::int64_t row, std::int64_t step, std::int16_t* codes);
  [[nodiscard]] std::span<const Entry> row(std::int64_t row) const {
    return {entries_.data() + row * capacity_, static_cast<std::size_t>(counts_[row])};
  }

 private:
  std::int64_t capacity_ = 0;  ///< of a row
  AlignedBuffer<std::int64_t> counts_;
  AlignedBuffer<Entry> entries_;
};

}  // namespace pareto
