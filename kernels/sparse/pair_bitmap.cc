#include "kernels/sparse/pair_bitmap.h"

#include <algorithm>
#include <bit>

#include "kernels/sparse/stored_rows.h"

namespace pareto {

PairBitmap::PairBitmap(const SparseProblem& problem, std::span<const Tensor> in, int vectors,
                       std::int64_t pairs, std::int64_t chunk_pairs)
    : vectors_(vectors),
      pairs_(pairs),
      panels_((problem.N + vectors * kLanes - 1) / (vectors * kLanes)),
      chunk_pairs_(chunk_pairs > 0 ? chunk_pairs : std::max<std::int64_t>(1, pairs)),
      chunks_(std::max<std::int64_t>(1, (pairs + chunk_pairs_ - 1) / chunk_pairs_)),
      mask_(panels_ * pairs * vectors + kMasksBehind),
      start_(panels_ * chunks_),
      values_(in[kSparseValues].elements()) {
  const std::int64_t panel_rows = vectors * kLanes;
  const StoredRows rows(problem, in);
  std::vector<std::uint16_t> codes(static_cast<std::size_t>(panel_rows * pairs_ * 2));
  std::vector<std::int32_t> k(static_cast<std::size_t>(problem.K));
  std::vector<float> value(static_cast<std::size_t>(problem.K));
  std::int64_t place = 0;
  for (std::int64_t panel = 0; panel < panels_; ++panel) {
    std::fill(codes.begin(), codes.end(), std::uint16_t{0});
    for (std::int64_t n = panel * panel_rows; n < std::min(problem.N, (panel + 1) * panel_rows);
         ++n) {
      const StoredRow row = rows.read(n, k.data(), value.data());
      for (std::size_t i = 0; i < static_cast<std::size_t>(row.count); ++i) {
        codes[static_cast<std::size_t>((k[i] / 2 * panel_rows + n % panel_rows) * 2 + k[i] % 2)] =
            static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value[i]) >> 16U);
      }
    }
    place = pack(codes, panel, place);
  }
}

// codes: [pair][row][2]. Values go to `place` and on; returns where they end.
std::int64_t PairBitmap::pack(const std::vector<std::uint16_t>& codes, std::int64_t panel,
                              std::int64_t place) {
  for (std::int64_t i = 0; i < pairs_ * vectors_; ++i) {
    if (i % (chunk_pairs_ * vectors_) == 0) {
      start_[panel * chunks_ + i / (chunk_pairs_ * vectors_)] = place;
    }
    const std::uint16_t* vector = codes.data() + i * 2 * kLanes;
    std::uint32_t bits = 0;
    for (unsigned j = 0; j < 2 * kLanes; ++j) {
      if (vector[j] == 0) continue;
      bits |= 1U << j;
      values_[place++] = vector[j];
    }
    mask_[panel * pairs_ * vectors_ + i] = bits;
  }
  return place;
}

}  // namespace pareto
