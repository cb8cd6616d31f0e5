// Dense W with zeros in x: only the rows of Wᵀ that meet a nonzero of x are read.
//
// Wᵀ stands in panels of up to 4 KiB of each column of W, [panel][K][rows]. The nonzeros of every
// token are listed once per call, {value, place in a panel}; a panel then takes all tokens block by
// block of columns, so that a block stays in L2. Eight listed columns are read side by side, and
// the eight that the list names next are fetched into L2 meanwhile: long runs, several at once, are
// what memory is fast at. (W of 8192², bf16, half of x zero, one core of Zen 4: 25 GB/s. Pieces of
// 256 B, one after the other: 5; with the next ones fetched into L1: 9.)
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "harness/variant.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/stored_rows.h"
#include "kernels/widen.h"
#include "reference/sparse.h"

namespace pareto {

/// One nonzero of x.
struct SkipEntry {
  float value = 0;
  std::uint32_t line = 0;  ///< 64-byte lines from the panel's beginning to its row of Wᵀ
};

/// Beyond, the lines of two panels (64 a column at most) could not be counted in 32 bits.
inline constexpr std::int64_t kSkipMostK = std::int64_t{1} << 25U;
/// Columns that are read side by side; as many entries may be read behind the last one of a token.
inline constexpr int kSkipColumns = 8;
/// Rows of W come in steps of so many: whole cache lines in every dtype.
inline constexpr std::int64_t kSkipStep = 32;

struct SkipIsa {
  /// Where a step of kSkipStep rows in bf16 has one.
  int (*place_of_row)(int row) = nullptr;
  /// c[rows] += Σ value · row of Wᵀ; rows is a multiple of kSkipStep.
  void (*accumulate)(const std::byte* panel, DType dtype, std::int64_t rows,
                     const SkipEntry* entries, std::int64_t count, float* c) = nullptr;
  decltype(PanelIsa::finish) finish = nullptr;
};

/// Rows of W per panel: every thread gets as many panels, none is longer than 4 KiB.
inline std::int64_t skip_panel_rows(std::int64_t N, DType dtype, int threads) {
  const std::int64_t longest = 4096 / static_cast<std::int64_t>(size_of(dtype));
  const std::int64_t own = std::max<std::int64_t>(1, (N + threads - 1) / threads);
  const std::int64_t panels = (own + longest - 1) / longest;
  const std::int64_t rows = (own + panels - 1) / panels;
  return (rows + kSkipStep - 1) / kSkipStep * kSkipStep;
}

class SkipXSparse : public Prepared {
 public:
  SkipXSparse(const SparseProblem& problem, std::span<const Tensor> in, const SkipIsa& isa,
              int threads)
      : p_(problem),
        isa_(isa),
        rows_(skip_panel_rows(p_.N, p_.dtype, threads)),
        row_bytes_(rows_ * static_cast<std::int64_t>(size_of(p_.dtype))),
        panels_((p_.N + rows_ - 1) / rows_),
        block_(p_.M == 1 ? std::max<std::int64_t>(p_.K, 1) : kBlockBytes / row_bytes_),
        blocks_((p_.K + block_ - 1) / block_),
        w_(panels_ * p_.K * row_bytes_),
        entries_(p_.M * (p_.K + kSkipColumns)),
        start_(p_.M * (blocks_ + 1)) {
    pack(in[kSparseW]);
    if (p_.has_bias) bias_ = padded_bias(in[kSparseBias], rows_);
    for (int i = 0; i < threads; ++i) {
      sums_.emplace_back(p_.M * rows_);
      row_.emplace_back(p_.K);
    }
  }

  void run(const Call& call) override {
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.M, thread, threads);
      float* row = row_[static_cast<std::size_t>(thread)].data();
      for (std::int64_t m = begin; m < end; ++m) list(call.in[kSparseX], m, row);
    });
    const SparseEpilogue epilogue{call.out[kSparseY], bias_.data(), p_.activation};
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(panels_, thread, threads);
      for (std::int64_t panel = begin; panel < end; ++panel) {
        multiply(panel, epilogue, sums_[static_cast<std::size_t>(thread)].data());
      }
    });
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  static constexpr std::int64_t kBlockBytes = 256 * 1024;

  // Where a row of W stands among the rows of its panel.
  [[nodiscard]] std::int64_t place(std::int64_t row) const {
    if (p_.dtype != DType::kBf16) return row;
    const std::int64_t i = row % kSkipStep;
    return row - i + isa_.place_of_row(static_cast<int>(i));
  }

  void pack(const Tensor& w) {
    const auto size = static_cast<std::int64_t>(size_of(w.dtype));
    for (std::int64_t n = 0; n < p_.N; ++n) {
      std::byte* to = w_.data() + n / rows_ * p_.K * row_bytes_ + place(n % rows_) * size;
      const std::byte* from = w.data + n * p_.K * size;
      for (std::int64_t k = 0; k < p_.K; ++k) {
        std::memcpy(to + k * row_bytes_, from + k * size, static_cast<std::size_t>(size));
      }
    }
  }

  [[nodiscard]] SkipEntry* entries(std::int64_t m) { return &entries_[m * (p_.K + kSkipColumns)]; }

  void list(const Tensor& x, std::int64_t m, float* row) {
    widen(x, m * p_.K, p_.K, row);
    const auto lines = static_cast<std::uint32_t>(row_bytes_ / 64);
    SkipEntry* const listed = entries(m);
    std::int64_t count = 0;
    for (std::int64_t b = 0; b < blocks_; ++b) {
      start_[m * (blocks_ + 1) + b] = count;
      const std::int64_t first = b * block_;
      for (std::int64_t k = first; k < std::min(p_.K, first + block_); ++k) {
        listed[count] = {row[k], static_cast<std::uint32_t>(k) * lines};
        count += row[k] != 0 ? 1 : 0;  // NaN is not a zero
      }
    }
    start_[m * (blocks_ + 1) + blocks_] = count;
    // Behind the last row of a panel come those of the next.
    const auto panel_lines = static_cast<std::uint32_t>(p_.K) * lines;
    for (std::int64_t i = 0; i < kSkipColumns; ++i) {
      const std::uint32_t line = i < count ? listed[i].line : 0;
      listed[count + i] = {0, panel_lines + line};
    }
  }

  void multiply(std::int64_t panel, const SparseEpilogue& epilogue, float* sums) {
    std::fill_n(sums, p_.M * rows_, 0.0F);
    const std::byte* w = w_.data() + panel * p_.K * row_bytes_;
    for (std::int64_t b = 0; b < blocks_; ++b) {
      for (std::int64_t m = 0; m < p_.M; ++m) {
        const std::int64_t* start = start_.data() + m * (blocks_ + 1) + b;
        isa_.accumulate(w, p_.dtype, rows_, entries(m) + start[0], start[1] - start[0],
                        sums + m * rows_);
      }
    }
    const std::int64_t first = panel * rows_;
    isa_.finish(epilogue, 0, p_.M, first, std::min(rows_, p_.N - first), sums,
                static_cast<int>(rows_));
  }

  SparseProblem p_;
  SkipIsa isa_;
  std::int64_t rows_;       ///< of W in a panel
  std::int64_t row_bytes_;  ///< of Wᵀ in a panel
  std::int64_t panels_;
  std::int64_t block_;  ///< columns that all tokens take before the next ones; one token: all
  std::int64_t blocks_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<SkipEntry> entries_;   ///< per token: K, and kSkipColumns more
  AlignedBuffer<std::int64_t> start_;  ///< [M][blocks + 1], in the entries of a token
  AlignedBuffer<float> bias_;
  std::vector<AlignedBuffer<float>> sums_;  ///< per thread: [M][rows]
  std::vector<AlignedBuffer<float>> row_;   ///< per thread: a widened row of x
};

}  // namespace pareto
