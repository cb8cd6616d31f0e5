// Codes of x as vpmaddubsw can take them: it multiplies 32 unsigned bytes of W with 32 signed ones
// of x and adds every two products, but saturates at 16 bits.
//
//   |w0·x0 + w1·x1| ≤ 255·128 fits, whatever w is, as long as −128 ≤ x0 + x1 ≤ 128
//
// (of two signs x0 and x1 always do).
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

/// The excess of every row of x[M,K], found anew by each call.
class PairExcess {
 public:
  static constexpr std::int64_t kStepCodes = 4;

  /// Codes of K from kStepCodes · step on; of each pair at least one is 0.
  struct Entry {
    std::int32_t step = 0;
    std::int8_t codes[kStepCodes] = {};
  };

  /// For half of the steps of `rows` rows of K codes, and some more where these are few: with more
  /// of them the products of widened codes are as fast.
  PairExcess(std::int64_t rows, std::int64_t K)
      : capacity_(K / kStepCodes / 2 + 4), counts_(rows), entries_(rows * capacity_) {}

  /// Room for capacity() entries of one row, which are its own once `set_count` says so.
  [[nodiscard]] Entry* room(std::int64_t row) { return entries_.data() + row * capacity_; }
  [[nodiscard]] std::int64_t capacity() const { return capacity_; }
  void set_count(std::int64_t row, std::int64_t count) { counts_[row] = count; }

  [[nodiscard]] std::span<const Entry> row(std::int64_t row) const {
    return {entries_.data() + row * capacity_, static_cast<std::size_t>(counts_[row])};
  }

 private:
  std::int64_t capacity_ = 0;
  AlignedBuffer<std::int64_t> counts_;
  AlignedBuffer<Entry> entries_;
};

}  // namespace pareto
