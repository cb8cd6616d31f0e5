// One page of an int8 KV cache for all rows of a unit, in integers: scores, weights, P·V.
//
// Included inside a `#pragma GCC target` region; T is the policy of an instruction set. q becomes
// integers of a step of its row's own, ±T::kLargestQ at the largest, K are its codes. Weights times
// the scales of their values become integers of a power of two of each page's own, the largest
// T::kWeightSteps … 2·T::kWeightSteps − 1, so that P·V of a page is an exact integer sum.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "kernels/attention/decode_pages.h"
#include "kernels/attention/decode_softmax.h"
#include "kernels/attention/paged_decode.h"
#include "reference/attention.h"

namespace pareto {

template <typename T>
class DecodeInt8Pages {
  using Reg = typename T::Reg;
  using V = typename T::V;

 public:
  using Lanes = T;
  static constexpr std::int64_t kKeys = T::kPageRegs * T::kLanes;

  explicit DecodeInt8Pages(const AttentionProblem& p)
      : layout_(PageLayout::of(p, kKeys, T::kPair, T::kColumns * T::kLanes, T::kLanes)),
        head_dim_(p.head_dim),
        query_{.steps = layout_.steps, .pair = T::kPair, .parts = T::kQueryParts} {
    layout_.k_flip = T::kFlip;
  }

  [[nodiscard]] const PageLayout& layout() const { return layout_; }

  [[nodiscard]] DecodeSpace<T> make_space(std::int64_t rows) const {
    DecodeSpace<T> space;
    space.q = AlignedBuffer<std::uint32_t>(rows * query_.stride() + 16);
    space.s = AlignedBuffer<float>(rows * kStride);
    return space;
  }

  /// Row r of q, from element `at` on. Its step goes into the factor of its logits.
  void pack_q(const Tensor& q, std::int64_t at, std::int64_t r, DecodeSpace<T>& space) const {
    std::uint32_t* words = space.q.data() + r * query_.stride();
    auto* floats = reinterpret_cast<float*>(words + query_.floats());
    DecodeRow<T>& row = space.rows[r];
    Reg most = V::set1(0.0F);
    for (std::int64_t c = 0; c < head_dim_; c += T::kLanes) {
      const Reg x = T::load_q(q, at + c, head_dim_ - c);
      row.non_finite = row.non_finite || T::any_non_finite(x);
      most = V::max(most, V::abs(x));
      T::store_floats(floats + c, x);
    }
    float largest = T::reduce_max(most);
    if (row.non_finite || largest == 0) largest = T::kLargestQ;
    // The reciprocal of a smaller one would overflow.
    const float lift = largest < 0x1p-100F ? 0x1p64F : 1.0F;
    T::pack_codes(floats, head_dim_, lift, T::kLargestQ / (largest * lift), query_, words);
    if (!row.non_finite) row.terms.factor *= largest / T::kLargestQ;
  }

  void visit(const DecodePage& page, DecodeSpace<T>& space) const {
    const std::int64_t score_height = height(page.rows, T::kScoreRows);
    for (std::int64_t r = 0; r < page.rows; r += score_height) {
      T::score(std::min(score_height, page.rows - r))(space.q.data() + r * query_.stride(), query_,
                                                      page.data, space.s.data() + r * kStride,
                                                      kStride);
    }
    bool lifted = false;
    for (std::int64_t r = 0; r < page.rows; ++r) lifted = soften(page, r, space) || lifted;
    if (lifted) [[unlikely]]
      return add_lifted(page, space);
    const std::byte* v = page.data + layout_.v_offset();
    const auto* weights = reinterpret_cast<const std::uint32_t*>(space.s.data());
    const std::int64_t value_height = height(page.rows, T::kRows);
    for (std::int64_t c = 0; c < layout_.columns; c += layout_.panel) {
      for (std::int64_t r = 0; r < page.rows; r += value_height) {
        T::add_values(std::min(value_height, page.rows - r), layout_.panel_at(c) / T::kLanes)(
            weights + r * kStride, kStride, v + c * kKeys, space.o.data() + r * page.o_stride + c,
            page.o_stride);
      }
    }
  }

 private:
  static constexpr std::int64_t kStride = 48;                // of scores and weights: lines, odd
  static constexpr std::int64_t kStepAt = kKeys / T::kPair;  // behind the codes of the weights
  static constexpr std::int64_t kLiftAt = kStepAt + 1;
  // Weights below kLeast are held kLift times as large: their products with scales next to the
  // smallest numbers, and steps of these, would lose bits.
  static constexpr float kLeast = 0x1p-100F;
  static constexpr float kLift = 0x1p64F;

  // Of tiles of equal height.
  static std::int64_t height(std::int64_t rows, std::int64_t most) {
    const std::int64_t tiles = (rows + most - 1) / most;
    return (rows + tiles - 1) / tiles;
  }

  // Scores of a row of q that integers cannot hold.
  void score_non_finite(const DecodePage& page, std::int64_t r, DecodeSpace<T>& space) const {
    const auto* q =
        reinterpret_cast<const float*>(space.q.data() + r * query_.stride() + query_.floats());
    const auto* k = reinterpret_cast<const std::uint8_t*>(page.data);
    for (std::int64_t j = 0; j < kKeys; ++j) {
      float sum = 0;
      for (std::int64_t c = 0; c < head_dim_; ++c) {
        const std::uint8_t stored = k[(c / T::kPair * kKeys + j) * T::kPair + c % T::kPair];
        sum += q[c] * static_cast<float>(static_cast<std::int8_t>(stored ^ T::kFlip));
      }
      space.s[r * kStride + j] = sum;
    }
  }

  // P·V of a page with rows whose weights are held larger: row by row, apart from o.
  void add_lifted(const DecodePage& page, DecodeSpace<T>& space) const {
    const std::byte* v = page.data + layout_.v_offset();
    for (std::int64_t r = 0; r < page.rows; ++r) {
      const float* s = space.s.data() + r * kStride;
      for (std::int64_t c = 0; c < layout_.columns; c += layout_.panel) {
        const std::int64_t columns = layout_.panel_at(c);
        alignas(64) float sums[T::kColumns * T::kLanes] = {};
        T::add_values(1, columns / T::kLanes)(reinterpret_cast<const std::uint32_t*>(s), kStride,
                                              v + c * kKeys, sums, columns);
        float* o = space.o.data() + r * page.o_stride + c;
        for (std::int64_t i = 0; i < columns; ++i) o[i] += sums[i] * s[kLiftAt];
      }
    }
  }

  // Scores of row r to integer weights, in place, and their step. True if these are kLift times as
  // large.
  bool soften(const DecodePage& page, std::int64_t r, DecodeSpace<T>& space) const {
    // What would round to 2·kWeightSteps counts as that already.
    constexpr float kRoundsUp = 2 * T::kWeightSteps / (2 * T::kWeightSteps - 0.5F);
    DecodeRow<T>& row = space.rows[r];
    float* s = space.s.data() + r * kStride;
    if (row.non_finite) score_non_finite(page, r, space);
    const auto* scales = reinterpret_cast<const float*>(page.data + layout_.scale_offset());
    Reg p[T::kPageRegs];
    weigh_page<T>(row, page.first_key, s, scales, space.o.data() + r * page.o_stride,
                  layout_.columns, space.sums.data() + r * 16, p);
    Reg w[T::kPageRegs];
    Reg most = V::set1(0.0F);
#pragma GCC unroll 4
    for (int c = 0; c < T::kPageRegs; ++c) {
      w[c] = V::mul(p[c], T::load_floats(scales + kKeys + c * T::kLanes));
      most = c == 0 ? w[0] : V::max(most, w[c]);
    }
    float largest = T::reduce_max(most);
    s[kLiftAt] = 1;
    if (!(largest >= kLeast)) [[unlikely]] {
      s[kLiftAt] = 1 / kLift;
#pragma GCC unroll 4
      for (int c = 0; c < T::kPageRegs; ++c) {
        const Reg scale = T::load_floats(scales + kKeys + c * T::kLanes);
        w[c] = V::mul(p[c], V::mul(scale, V::set1(kLift)));
        most = c == 0 ? w[0] : V::max(most, w[c]);
      }
      largest = T::reduce_max(most);
      if (!(largest >= kLeast)) {  // no key; or NaN, which the row's sum will show
        std::fill_n(s, kLiftAt, 0.0F);
        return false;
      }
    }
    // The step is 2^k / kWeightSteps with 2^k at most the largest, in the bits of the exponent.
    constexpr std::uint32_t kOne = 127U << 23U;
    constexpr std::uint32_t kExponent = 0xffU << 23U;
    const std::uint32_t step = (std::bit_cast<std::uint32_t>(largest * kRoundsUp) & kExponent) -
                               (std::bit_cast<std::uint32_t>(T::kWeightSteps) - kOne);
    T::store_weights(s, w, std::bit_cast<float>(2 * kOne - step));
    s[kStepAt] = std::bit_cast<float>(step);
    return s[kLiftAt] != 1;
  }

  PageLayout layout_;
  std::int64_t head_dim_;
  Int8QueryLayout query_;
};

}  // namespace pareto
