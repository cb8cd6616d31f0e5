// Decode with 8-bit dot products in AVX-512 VNNI on a KV cache in int8.
//
// Idea: paged_decode.h in integers. K lies as unsigned bytes; q becomes two signed bytes,
// q ≈ unit·(128·high + low), and 128·Σq is taken off the sums beforehand. Weights times the scales
// of their values become unsigned bytes of a power of two of each page's own, the largest 128 …
// 255, so that P·V of a page is an exact integer sum. Half the bytes and half the dot products of
// P·V in bf16; what P loses is what V has lost already. Bottleneck: reading the cache where two dot
// products issue per cycle (Zen 5, Sapphire Rapids); dot products on Zen 4 with one thread. Layout:
// pages of K [d / 4][32][4], V [d_v / 64][8][64][4], scales of 32 keys and values.
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "harness/variant.h"
#include "kernels/attention/decode_pages.h"
#include "kernels/attention/decode_split.h"
#include "kernels/attention/finish_row.h"
#include "kernels/attention/part_sums.h"
#include "kernels/attention/task_rows.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/vector_avx512.h"
#include "reference/attention.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")

#include "kernels/attention/decode_int8_tiles.h"
#include "kernels/attention/decode_lanes_avx512.h"
#include "kernels/attention/paged_decode.h"

namespace pareto {
namespace {

constexpr std::int64_t kKeys = kInt8PageKeys;
constexpr std::int64_t kPair = kInt8Pair;
constexpr std::int64_t kMaxHeadDim = 1024;  // 128 · Σ high · k and Σ low · k fit int32
constexpr int kSplit = 128;                 // q / unit = kSplit · high + low
constexpr int kLargestQ = 127 * kSplit;

struct Int8Lanes : DecodeLanesAvx512 {
  static constexpr int kExpDegree = 4;
};

class DecodeInt8Pages {
 public:
  using Lanes = Int8Lanes;

  explicit DecodeInt8Pages(const AttentionProblem& p)
      : layout_(PageLayout::of(p, kKeys, kPair, kInt8Columns * 16, 16)),
        head_dim_(p.head_dim),
        query_{.steps = layout_.steps} {
    layout_.k_flip = 0x80;  // s8 to u8: 128 more
  }

  [[nodiscard]] const PageLayout& layout() const { return layout_; }

  [[nodiscard]] DecodeSpace<Int8Lanes> make_space(std::int64_t rows) const {
    DecodeSpace<Int8Lanes> space;
    space.q = AlignedBuffer<std::uint32_t>(rows * query_.stride() + 16);
    space.s = AlignedBuffer<float>(rows * kStride);
    return space;
  }

  void pack_q(const Tensor& q, std::int64_t at, std::int64_t r,
              DecodeSpace<Int8Lanes>& space) const;
  void visit(const DecodePage& page, DecodeSpace<Int8Lanes>& space) const;

 private:
  static constexpr std::int64_t kStride = 48;  // of scores and weights: lines, odd

  void score_non_finite(const DecodePage& page, std::int64_t r,
                        DecodeSpace<Int8Lanes>& space) const;
  void soften(const DecodePage& page, std::int64_t r, DecodeSpace<Int8Lanes>& space) const;

  PageLayout layout_;
  std::int64_t head_dim_;
  Int8QueryLayout query_;
};

/// Row r of q, from element `at` on. The unit goes into the factor of its logits.
void DecodeInt8Pages::pack_q(const Tensor& q, std::int64_t at, std::int64_t r,
                             DecodeSpace<Int8Lanes>& space) const {
  std::uint32_t* words = space.q.data() + r * query_.stride();
  auto* floats = reinterpret_cast<float*>(words + query_.floats());
  __m512 most = _mm512_setzero_ps();
  DecodeRow<Int8Lanes>& row = space.rows[r];
  for (std::int64_t c = 0; c < head_dim_; c += 16) {
    const __m512 x = load_codes_avx512(q.data, q.dtype, at + c, first_lanes(head_dim_ - c));
    row.non_finite = row.non_finite || Int8Lanes::any_non_finite(x);
    most = _mm512_max_ps(most, _mm512_abs_ps(x));
    _mm512_storeu_ps(floats + c, x);
  }
  float largest = _mm512_reduce_max_ps(most);
  if (row.non_finite || largest == 0) largest = kLargestQ;
  // The reciprocal of a smaller one would overflow.
  const float lift = largest < 0x1p-100F ? 0x1p64F : 1.0F;
  const __m512 inverse = _mm512_set1_ps(kLargestQ / (largest * lift));
  __m512i high_sum = _mm512_setzero_si512();
  __m512i low_sum = _mm512_setzero_si512();
  for (std::int64_t c = 0; c < head_dim_; c += 16) {
    const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(floats + c), _mm512_set1_ps(lift));
    const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(x, inverse));
    const __m512i high =
        _mm512_srai_epi32(_mm512_add_epi32(whole, _mm512_set1_epi32(kSplit / 2)), 7);
    const __m512i low = _mm512_sub_epi32(whole, _mm512_slli_epi32(high, 7));
    high_sum = _mm512_add_epi32(high_sum, high);
    low_sum = _mm512_add_epi32(low_sum, low);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(words + c / 4), _mm512_cvtepi32_epi8(high));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(words + query_.half() + c / 4),
                     _mm512_cvtepi32_epi8(low));
  }
  words[query_.offsets()] = static_cast<std::uint32_t>(-128 * _mm512_reduce_add_epi32(high_sum));
  words[query_.offsets() + 1] = static_cast<std::uint32_t>(-128 * _mm512_reduce_add_epi32(low_sum));
  if (!row.non_finite) row.terms.factor *= largest / kLargestQ;
}

void DecodeInt8Pages::visit(const DecodePage& page, DecodeSpace<Int8Lanes>& space) const {
  // Tiles of equal height.
  const std::int64_t tiles = (page.rows + kInt8Rows - 1) / kInt8Rows;
  const std::int64_t height = (page.rows + tiles - 1) / tiles;
  for (std::int64_t r = 0; r < page.rows; r += height) {
    kInt8ScoreTiles[std::min(height, page.rows - r) - 1](space.q.data() + r * query_.stride(),
                                                         query_, page.data,
                                                         space.s.data() + r * kStride, kStride);
  }
  for (std::int64_t r = 0; r < page.rows; ++r) soften(page, r, space);
  const std::byte* v = page.data + layout_.v_offset();
  const auto* weights = reinterpret_cast<const std::uint32_t*>(space.s.data());
  for (std::int64_t c = 0; c < layout_.columns; c += layout_.panel) {
    const std::int64_t width = layout_.panel_at(c) / 16;
    for (std::int64_t r = 0; r < page.rows; r += height) {
      kInt8ValueTiles[(std::min(height, page.rows - r) - 1) * kInt8Columns + width - 1](
          weights + r * kStride, kStride, v + c * kKeys, space.o.data() + r * page.o_stride + c,
          page.o_stride);
    }
  }
}

/// Scores of a row of q that integers cannot hold.
void DecodeInt8Pages::score_non_finite(const DecodePage& page, std::int64_t r,
                                       DecodeSpace<Int8Lanes>& space) const {
  const auto* q =
      reinterpret_cast<const float*>(space.q.data() + r * query_.stride() + query_.floats());
  const auto* k = reinterpret_cast<const std::uint8_t*>(page.data);
  for (std::int64_t j = 0; j < kKeys; ++j) {
    float sum = 0;
    for (std::int64_t c = 0; c < head_dim_; ++c) {
      const int code = k[(c / kPair * kKeys + j) * kPair + c % kPair] - 128;
      sum += q[c] * static_cast<float>(code);
    }
    space.s[r * kStride + j] = sum;
  }
}

/// Scores of row r to weights in bytes, in place, and their step.
void DecodeInt8Pages::soften(const DecodePage& page, std::int64_t r,
                             DecodeSpace<Int8Lanes>& space) const {
  constexpr float kRoundsTo256 = 256 / 255.5F;
  DecodeRow<Int8Lanes>& row = space.rows[r];
  float* s = space.s.data() + r * kStride;
  if (row.non_finite) score_non_finite(page, r, space);
  const auto* scales = reinterpret_cast<const float*>(page.data + layout_.scale_offset());
  __m512 w[2];
  weigh_page<Int8Lanes>(row, page.first_key, s, scales, space.o.data() + r * page.o_stride,
                        layout_.columns, space.sums.data() + r * 16, w);
  w[0] = _mm512_mul_ps(w[0], _mm512_loadu_ps(scales + kKeys));
  w[1] = _mm512_mul_ps(w[1], _mm512_loadu_ps(scales + kKeys + 16));
  float largest = _mm512_reduce_max_ps(_mm512_max_ps(w[0], w[1]));
  auto* codes = reinterpret_cast<__m128i*>(s);
  if (!(largest > 0)) {  // no key; or NaN, which the row's sum will show
    _mm256_storeu_ps(s, _mm256_setzero_ps());
    s[8] = 0;
    return;
  }
  float lowered = 1;
  if (largest < 0x1p-100F) [[unlikely]] {  // powers of two beyond fp32
    lowered = 0x1p-64F;
    largest /= lowered;
    w[0] = _mm512_mul_ps(w[0], _mm512_set1_ps(1 / lowered));
    w[1] = _mm512_mul_ps(w[1], _mm512_set1_ps(1 / lowered));
  }
  // The step is 2^(k − 7) with 2^k at most the largest, in the bits of the exponent.
  constexpr std::uint32_t kOne = 127U << 23U;
  constexpr std::uint32_t kExponent = 0xffU << 23U;
  const std::uint32_t step =
      (std::bit_cast<std::uint32_t>(largest * kRoundsTo256) & kExponent) - (7U << 23U);
  const __m512 inverse = _mm512_set1_ps(std::bit_cast<float>(2 * kOne - step));
  for (int c = 0; c < 2; ++c) {
    _mm_storeu_si128(codes + c,
                     _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(w[c], inverse))));
  }
  s[8] = std::bit_cast<float>(step) * lowered;
}

using Kernel = PagedDecode<DecodeInt8Pages>;

#pragma GCC pop_options

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<Kernel>(AttentionProblem::from(problem), in, pool);
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.u_exp = 0x1p-17;
  a.kv_block = kKeys;
  a.acc_block = kKeys;       // exact in between
  a.u_q_step = 1 / 32500.0;  // half a unit of largest / 16256, and the rounding of its reciprocal
  a.p_in_pages = true;
  return a;
}

std::string declines(const Problem& problem) {
  const AttentionProblem p = AttentionProblem::from(problem);
  if (p.kv_dtype != DType::kS8) return "takes K and V in int8 only";
  return p.head_dim <= kMaxHeadDim ? "" : "head_dim beyond 1024 may overflow int32";
}

const Registration registration{{
    .op = "attention",
    .name = "avx512_int8_decode",
    .summary = "one pass over a cache of int8 pages for all query heads; q in two bytes, P in one",
    .needs = Isa::kAvx512 | Isa::kAvx512Vnni,
    .limits = {{.key = "seq_q", .max = kAttentionDecodeRows}},
    .declines = declines,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "vnni_int8",
}};

}  // namespace
}  // namespace pareto
