// Dense W with zeros in x: only the rows of Wᵀ that meet a nonzero of x are read.
//
// Wᵀ stands in panels of eight vectors of rows of W, [panel][K][rows]. The nonzeros of every token
// are listed once per call, {value, byte offset into a panel's block of columns}; a panel then
// takes all tokens block by block, so that its block stays in L2 (one token needs no blocks).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "harness/variant.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/stored_rows.h"
#include "reference/sparse.h"

namespace pareto {

/// One nonzero of x.
struct SkipEntry {
  float value = 0;
  std::uint32_t offset = 0;  ///< bytes from the block's beginning in Wᵀ
};

struct SkipIsa {
  int panel_rows = 0;
  /// c[panel_rows] += Σ value · row of Wᵀ.
  void (*accumulate)(const std::byte* w, DType dtype, const SkipEntry* entries, std::int64_t count,
                     float* c) = nullptr;
  decltype(PanelIsa::finish) finish = nullptr;
};

class SkipXSparse : public Prepared {
 public:
  SkipXSparse(const SparseProblem& problem, std::span<const Tensor> in, const SkipIsa& isa,
              int threads)
      : p_(problem),
        isa_(isa),
        row_bytes_(isa.panel_rows * static_cast<std::int64_t>(size_of(p_.dtype))),
        panels_((p_.N + isa.panel_rows - 1) / isa.panel_rows),
        blocks_((p_.K + kBlock - 1) / kBlock),
        w_(panels_ * p_.K * row_bytes_),
        entries_(p_.M * p_.K),
        start_(p_.M * (blocks_ + 1)) {
    pack(in[kSparseW]);
    if (p_.has_bias) bias_ = padded_bias(in[kSparseBias], isa.panel_rows);
    for (int i = 0; i < threads; ++i) {
      sums_.emplace_back(p_.M * isa.panel_rows);
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
  static constexpr std::int64_t kBlock = 256;  ///< columns: 128 KiB of 128 rows in fp32

  void pack(const Tensor& w) {
    const auto size = static_cast<std::int64_t>(size_of(w.dtype));
    for (std::int64_t n = 0; n < p_.N; ++n) {
      std::byte* to =
          w_.data() + n / isa_.panel_rows * p_.K * row_bytes_ + n % isa_.panel_rows * size;
      const std::byte* from = w.data + n * p_.K * size;
      for (std::int64_t k = 0; k < p_.K; ++k) {
        std::memcpy(to + k * row_bytes_, from + k * size, static_cast<std::size_t>(size));
      }
    }
  }

  void list(const Tensor& x, std::int64_t m, float* row) {
    widen(x, m * p_.K, p_.K, row);
    std::int64_t place = m * p_.K;
    for (std::int64_t b = 0; b < blocks_; ++b) {
      start_[m * (blocks_ + 1) + b] = place;
      const std::int64_t first = b * kBlock;
      for (std::int64_t k = first; k < std::min(p_.K, first + kBlock); ++k) {
        entries_[place] = {row[k], static_cast<std::uint32_t>((k - first) * row_bytes_)};
        place += row[k] != 0 ? 1 : 0;  // NaN is not a zero
      }
    }
    start_[m * (blocks_ + 1) + blocks_] = place;
  }

  void multiply(std::int64_t panel, const SparseEpilogue& epilogue, float* sums) const {
    std::fill_n(sums, p_.M * isa_.panel_rows, 0.0F);
    for (std::int64_t b = 0; b < blocks_; ++b) {
      const std::byte* w = w_.data() + (panel * p_.K + b * kBlock) * row_bytes_;
      for (std::int64_t m = 0; m < p_.M; ++m) {
        const std::int64_t* start = start_.data() + m * (blocks_ + 1) + b;
        isa_.accumulate(w, p_.dtype, entries_.data() + start[0], start[1] - start[0],
                        sums + m * isa_.panel_rows);
      }
    }
    const std::int64_t first = panel * isa_.panel_rows;
    isa_.finish(epilogue, 0, p_.M, first, std::min<std::int64_t>(isa_.panel_rows, p_.N - first),
                sums, isa_.panel_rows);
  }

  SparseProblem p_;
  SkipIsa isa_;
  std::int64_t row_bytes_;
  std::int64_t panels_;
  std::int64_t blocks_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<SkipEntry> entries_;   ///< of token m from m·K on
  AlignedBuffer<std::int64_t> start_;  ///< [M][blocks + 1]
  AlignedBuffer<float> bias_;
  std::vector<AlignedBuffer<float>> sums_;  ///< per thread: [M][panel_rows]
  std::vector<AlignedBuffer<float>> row_;   ///< per thread: a widened row of x
};

}  // namespace pareto
