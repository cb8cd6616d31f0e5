// Decode on a cache of pages: few queries against many keys, read once for all query heads that
// share them.
//
// Included inside a `#pragma GCC target` region. K multiplies the rows of a unit by one page
// (decode_float_pages.h for arithmetic in floating point); this header walks the pages: every
// thread its piece of the whole cache, the parts of heads that were cut combined at the end by
// their maxima and sums.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "harness/aligned_buffer.h"
#include "harness/variant.h"
#include "kernels/attention/decode_pages.h"
#include "kernels/attention/decode_softmax.h"
#include "kernels/attention/decode_split.h"
#include "kernels/attention/finish_row.h"
#include "kernels/attention/part_sums.h"
#include "kernels/attention/task_rows.h"
#include "reference/attention.h"

namespace pareto {

/// Workspace of one thread; what a row holds is up to the kernel but for o and the sums.
template <typename T>
struct DecodeSpace {
  AlignedBuffer<std::uint32_t> q;  ///< [rows][q_stride]
  AlignedBuffer<float> s;          ///< [rows][s_stride]
  AlignedBuffer<float> o;          ///< [rows][o_stride]
  AlignedBuffer<float> sums;       ///< [rows][16]: Σ weights in lanes
  std::vector<DecodeRow<T>> rows;
};

/// A page to be visited; keys from first_key on.
struct DecodePage {
  const std::byte* data = nullptr;
  std::int64_t first_key = 0;
  std::int64_t keys = 0;  ///< from there to the end of the sequence
  std::int64_t rows = 0;
  std::int64_t o_stride = 0;
  bool non_finite = false;
};

template <typename K>
class PagedDecode : public Prepared {
  using T = typename K::Lanes;

 public:
  PagedDecode(const AttentionProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        kernel_(p_),
        pages_(p, kernel_.layout(), in, pool),
        split_(p, pool.size(), kernel_.layout().keys, kernel_.layout().bytes()),
        // An odd number of lines, lest rows fall into the same sets of L1.
        o_stride_((kernel_.layout().columns + 15) / 32 * 32 + 16) {
    for (int thread = 0; thread < pool.size(); ++thread) {
      DecodeSpace<T> space = kernel_.make_space(split_.max_rows());
      space.o = AlignedBuffer<float>(split_.max_rows() * o_stride_);
      space.sums = AlignedBuffer<float>(split_.max_rows() * kSumLanes);
      space.rows.resize(static_cast<std::size_t>(split_.max_rows()));
      spaces_.push_back(std::move(space));
    }
    if (pool.size() > 1) parts_ = PartSums(split_.max_parts(), split_.max_rows(), o_stride_);
  }

  void run(const Call& call) override {
    AttentionCall now(call);
    now.tables.cu_seqlens_kv = now.tables.seqlens_kv = pages_.lengths();
    split_.plan(now.tables);
    if (split_.active() == 1) {
      walk(now, 0);
    } else {
      call.pool.run([&](int thread, int) { walk(now, thread); });
    }
    if (!split_.cut_units().empty()) {
      call.pool.run([&](int thread, int threads) { combine(now, thread, threads); });
    }
    const KeyRange uncovered = uncovered_q_rows(p_, now.tables, now.lse);
    for (std::int64_t row = uncovered.lo; row < uncovered.hi; ++row) {
      now.store_empty(row, p_.head_dim_v);
    }
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return pages_.bytes(); }

 private:
  static constexpr std::int64_t kSumLanes = 16;

  void walk(const AttentionCall& call, int thread) {
    DecodeSpace<T>& space = spaces_[thread];
    DecodePiece piece;
    for (std::int64_t index = 0; split_.piece(thread, index, piece); ++index) {
      const DecodeUnit unit = split_.unit(piece.unit, call.tables);
      if (unit.rows == 0) continue;
      begin_rows(call, unit, space);
      const std::int64_t head = pages_.head(unit.sequence.b, unit.head_kv);
      const std::int64_t last = std::min(unit.pages.lo + piece.pages.hi, unit.pages.hi);
      for (std::int64_t page = unit.pages.lo + piece.pages.lo; page < last; ++page) {
        kernel_.visit({.data = pages_.page(head, page),
                       .first_key = page * pages_.layout().keys,
                       .keys = unit.sequence.seq_kv - page * pages_.layout().keys,
                       .rows = unit.rows,
                       .o_stride = o_stride_,
                       .non_finite = pages_.non_finite(head, page)},
                      space);
      }
      for (std::int64_t r = 0; r < unit.rows; ++r) {
        DecodeRow<T>& row = space.rows[r];
        row.state.sum = T::reduce_add(T::load_floats(space.sums.data() + r * kSumLanes));
        float* o = space.o.data() + r * o_stride_;
        if (piece.whole) {
          finish(call, unit, r, row.state, o);
        } else {
          parts_.keep(piece.part, r, row.state, o);
        }
      }
    }
  }

  void begin_rows(const AttentionCall& call, const DecodeUnit& unit, DecodeSpace<T>& space) const {
    std::fill_n(space.o.data(), unit.rows * o_stride_, 0.0F);
    std::fill_n(space.sums.data(), unit.rows * kSumLanes, 0.0F);
    const float k_scale = pages_.head_scales(pages_.head(unit.sequence.b, unit.head_kv)).k;
    for (std::int64_t r = 0; r < unit.rows; ++r) {
      const std::int64_t query = unit.query(r);
      const std::int64_t head = unit.head(r, p_.group());
      DecodeRow<T>& row = space.rows[r];
      row = {};
      row.terms = terms_of_query(p_, call, unit.sequence, head, query, k_scale);
      kernel_.pack_q(call.in[kAttentionQ], unit.sequence.q_row(head, query) * p_.head_dim, r,
                     space);
      row.plain = p_.plain_logits() && row.terms.factor > 0;
    }
  }

  void finish(const AttentionCall& call, const DecodeUnit& unit, std::int64_t r,
              const SoftmaxState& state, float* o) const {
    const std::int64_t head = unit.head(r, p_.group());
    const float sink =
        call.sinks != nullptr ? call.sinks[head] : -std::numeric_limits<float>::infinity();
    FinishedRow finished = finish_row(state, sink);
    scale_values(pages_.head_scales(pages_.head(unit.sequence.b, unit.head_kv)).v,
                 {o, static_cast<std::size_t>(p_.head_dim_v)}, finished);
    store(call, unit.sequence.q_row(head, unit.query(r)), o, finished);
  }

  void store(const AttentionCall& call, std::int64_t row, const float* o,
             const FinishedRow& finished) const {
    if (finished.empty) {
      call.store_empty(row, p_.head_dim_v);
    } else {
      T::store_row(call.o, row * p_.head_dim_v, p_.head_dim_v, o, finished.factor);
    }
    call.lse.as<float>()[row] = finished.lse;
  }

  // Parts of the keys, brought to their common maximum.
  void combine(const AttentionCall& call, int thread, int threads) {
    float* o = spaces_[thread].o.data();
    for (const CutUnit& cut : split_.cut_units()) {
      const DecodeUnit unit = split_.unit(cut.unit, call.tables);
      const auto [begin, end] = share_of(unit.rows, thread, threads);
      for (std::int64_t r = begin; r < end; ++r) {
        finish(call, unit, r, parts_.combine(cut.first_part, cut.parts, r, o), o);
      }
    }
  }

  AttentionProblem p_;
  K kernel_;
  DecodePages pages_;
  DecodeSplit split_;
  std::int64_t o_stride_;
  std::vector<DecodeSpace<T>> spaces_;
  PartSums parts_;
};

}  // namespace pareto
