// One page of the KV cache for all rows of a unit, in floating point: scores, weights, P·V.
//
// Included inside a `#pragma GCC target` region; T is the policy of an instruction set and of the
// type that K and V have, which it widens as it loads them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/attention/decode_pages.h"
#include "kernels/attention/decode_softmax.h"
#include "kernels/attention/decode_tiles.h"
#include "kernels/attention/paged_decode.h"
#include "reference/attention.h"

namespace pareto {

template <typename T>
class DecodeFloatPages {
 public:
  using Lanes = T;
  static constexpr std::int64_t kKeys = T::kPageRegs * T::kLanes;

  explicit DecodeFloatPages(const AttentionProblem& p)
      : layout_(PageLayout::of(p, kKeys, T::kPair, T::kColumns * T::kLanes,
                               T::kColumnStep * T::kLanes)),
        head_dim_(p.head_dim),
        // An odd number of lines, lest rows fall into the same sets of L1.
        q_stride_(layout_.steps / 32 * 32 + 48) {
    layout_.group = kGroup;
    layout_.order = T::kOrder;
  }

  [[nodiscard]] const PageLayout& layout() const { return layout_; }

  [[nodiscard]] DecodeSpace<T> make_space(std::int64_t rows) const {
    DecodeSpace<T> space;
    space.q = AlignedBuffer<std::uint32_t>(rows * q_stride_);
    space.s = AlignedBuffer<float>(rows * kStride);
    return space;
  }

  /// Row r of q, from element `at` on.
  void pack_q(const Tensor& q, std::int64_t at, std::int64_t r, DecodeSpace<T>& space) const {
    T::pack_q(q, at, head_dim_, space.q.data() + r * q_stride_);
  }

  void visit(const DecodePage& page, DecodeSpace<T>& space) const {
    // Tiles of equal height.
    const std::int64_t tiles = (page.rows + T::kRows - 1) / T::kRows;
    const std::int64_t height = (page.rows + tiles - 1) / tiles;
    NextPage next(page.data + layout_.bytes(), tiles < kTilesToFetch ? 0 : layout_.bytes(),
                  tiles * (kGroups + (layout_.columns + layout_.panel - 1) / layout_.panel));
    // The last page of a sequence may end with a group that holds no key.
    const std::int64_t groups = page.keys > kGroup ? kGroups : 1;
    for (std::int64_t group = 0; group < groups; ++group) {
      const std::byte* k = page.data + layout_.k_at(group * kGroup, 0) * layout_.element_bytes;
      for (std::int64_t r = 0; r < page.rows; r += height) {
        next.fetch();
        DecodeTiles<T>::score(std::min(height, page.rows - r))(
            space.q.data() + r * q_stride_, q_stride_, k, layout_.steps,
            space.s.data() + r * kStride + group * kGroup, kStride);
      }
    }
    for (std::int64_t r = 0; r < page.rows; ++r) {
      groups < kGroups ? soften<kScoreRegs>(page, r, space) : soften<T::kPageRegs>(page, r, space);
    }
    if (page.non_finite) {
      for (std::int64_t r = 0; r < page.rows; ++r) add_seen_values(page, r, space);
      return;
    }
    const std::byte* v = page.data + layout_.v_offset();
    for (std::int64_t c = 0; c < layout_.columns; c += layout_.panel) {
      for (std::int64_t r = 0; r < page.rows; r += height) {
        next.fetch();
        DecodeTiles<T>::add_values(std::min(height, page.rows - r),
                                   layout_.panel_at(c) / T::kLanes)(
            weights(r, space), kStride, v + c * kKeys * layout_.element_bytes,
            groups * kGroup / T::kPair, space.o.data() + r * page.o_stride + c, page.o_stride);
      }
    }
  }

 private:
  static constexpr std::int64_t kGroup = kScoreRegs * T::kLanes;
  static constexpr std::int64_t kGroups = kKeys / kGroup;
  static_assert(kGroups <= 2);
  static constexpr std::int64_t kStride = kKeys + 16;  // of scores and weights: lines, odd
  // With fewer tiles, reading is what takes the time, and hardware follows it better alone.
  static constexpr std::int64_t kTilesToFetch = 3;

  // Only the first tile of a phase waits for memory; the others have time to bring the next page
  // closer, a part each.
  class NextPage {
   public:
    NextPage(const std::byte* data, std::int64_t bytes, std::int64_t parts)
        : at_(data), end_(data + bytes), part_((bytes / kLine + parts - 1) / parts * kLine) {}
    void fetch() {
      for (const std::byte* stop = std::min(at_ + part_, end_); at_ < stop; at_ += kLine) {
        __builtin_prefetch(at_, 0, 2);
      }
    }

   private:
    static constexpr std::int64_t kLine = 64;
    const std::byte* at_;
    const std::byte* end_;
    std::int64_t part_;
  };

  static std::uint32_t* weights(std::int64_t r, DecodeSpace<T>& space) {
    return reinterpret_cast<std::uint32_t*>(space.s.data() + r * kStride);
  }

  // Scores of row r to weights, in place; of the page's first N registers of keys.
  template <int N>
  void soften(const DecodePage& page, std::int64_t r, DecodeSpace<T>& space) const {
    const float* k_scale = nullptr;
    if (layout_.scales) {
      k_scale = reinterpret_cast<const float*>(page.data + layout_.scale_offset());
    }
    typename T::Reg w[N];
    weigh_page<T>(space.rows[r], page.first_key, space.s.data() + r * kStride, k_scale,
                  space.o.data() + r * page.o_stride, layout_.columns, space.sums.data() + r * 16,
                  w);
#pragma GCC unroll 4
    for (int n = 0; k_scale != nullptr && n < N; ++n) {
      w[n] = T::V::mul(w[n], T::load_floats(k_scale + kKeys + n * T::kLanes));
    }
    T::store_page_weights(weights(r, space), w);
  }

  // o of row r beside a non-finite v: keys that the row does not see have weight 0, but 0·∞ is not
  // 0.
  void add_seen_values(const DecodePage& page, std::int64_t r, DecodeSpace<T>& space) const {
    const LogitTerms& terms = space.rows[r].terms;
    const std::byte* v = page.data + layout_.v_offset();
    float* o = space.o.data() + r * page.o_stride;
    for (std::int64_t j = 0; j < kKeys; ++j) {
      if (!terms.sees(page.first_key + j)) continue;
      const float weight = T::weight_at(weights(r, space), j);
      for (std::int64_t c = 0; c < layout_.columns; ++c) {
        o[c] += weight * T::value_at(v, place_of(layout_.v_at(j, c), layout_.order));
      }
    }
  }

  PageLayout layout_;
  std::int64_t head_dim_;
  std::int64_t q_stride_;
};

}  // namespace pareto
