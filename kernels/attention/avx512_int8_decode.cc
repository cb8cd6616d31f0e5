// Decode with 8-bit dot products in AVX-512 VNNI on a KV cache in int8.
//
// Idea: decode_int8_pages.h. K lies as unsigned bytes; q becomes two signed bytes,
// q ≈ step·(128·high + low), and 128·Σq is taken off the sums beforehand; weights become unsigned
// bytes. Half the bytes and half the dot products of P·V in bf16; what P loses is what V has lost
// already. Bottleneck: reading the cache where two dot products issue per cycle (Zen 5, Sapphire
// Rapids); dot products on Zen 4 with one thread. Layout: pages of K [d / 4][32][4],
// V [d_v / 64][8][64][4], scales of 32 keys and values.
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

#include "kernels/attention/decode_int8_pages.h"
#include "kernels/attention/decode_int8_tiles_avx512.h"
#include "kernels/attention/decode_lanes_avx512.h"
#include "kernels/attention/paged_decode.h"

namespace pareto {
namespace {

constexpr std::int64_t kMaxHeadDim = 1024;  // 128 · Σ high · k and Σ low · k fit int32

struct Int8Lanes : DecodeLanesAvx512 {
  static constexpr int kExpDegree = 4;
  static constexpr std::int64_t kPair = kInt8Pair;
  static constexpr int kScoreRows = kInt8Rows;
  static constexpr int kRows = kInt8Rows;
  static constexpr int kColumns = kInt8Columns;
  static constexpr std::uint8_t kFlip = 0x80;  // s8 to u8: 128 more
  static constexpr int kQueryParts = 2;
  static constexpr int kSplit = 128;  // q / step = kSplit · high + low
  static constexpr float kLargestQ = 127 * kSplit;
  static constexpr float kWeightSteps = 128;

  static auto score(std::int64_t rows) { return kInt8ScoreTiles[rows - 1]; }
  static auto add_values(std::int64_t rows, std::int64_t columns) {
    return kInt8ValueTiles[(rows - 1) * kInt8Columns + columns - 1];
  }
  static Reg load_q(const Tensor& q, std::int64_t at, std::int64_t count) {
    return load_codes_avx512(q.data, q.dtype, at, first_lanes(count));
  }
  static void pack_codes(const float* q, std::int64_t count, float lift, float inverse,
                         const Int8QueryLayout& layout, std::uint32_t* words) {
    __m512i high_sum = _mm512_setzero_si512();
    __m512i low_sum = _mm512_setzero_si512();
    for (std::int64_t c = 0; c < count; c += 16) {
      const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(q + c), _mm512_set1_ps(lift));
      const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(inverse)));
      const __m512i high =
          _mm512_srai_epi32(_mm512_add_epi32(whole, _mm512_set1_epi32(kSplit / 2)), 7);
      const __m512i low = _mm512_sub_epi32(whole, _mm512_slli_epi32(high, 7));
      high_sum = _mm512_add_epi32(high_sum, high);
      low_sum = _mm512_add_epi32(low_sum, low);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(words + c / 4), _mm512_cvtepi32_epi8(high));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(words + layout.part() + c / 4),
                       _mm512_cvtepi32_epi8(low));
    }
    std::uint32_t* offsets = words + layout.offsets();
    offsets[0] = static_cast<std::uint32_t>(-128 * _mm512_reduce_add_epi32(high_sum));
    offsets[1] = static_cast<std::uint32_t>(-128 * _mm512_reduce_add_epi32(low_sum));
  }
  static void store_weights(float* to, const Reg (&w)[kPageRegs], float inverse) {
    auto* codes = reinterpret_cast<__m128i*>(to);
    for (int c = 0; c < kPageRegs; ++c) {
      _mm_storeu_si128(
          codes + c,
          _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(w[c], _mm512_set1_ps(inverse)))));
    }
  }
};

using Kernel = PagedDecode<DecodeInt8Pages<Int8Lanes>>;

#pragma GCC pop_options

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<Kernel>(AttentionProblem::from(problem), in, pool);
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.u_exp = 0x1p-17;
  a.kv_block = kInt8PageKeys;
  a.acc_block = kInt8PageKeys;  // exact in between
  a.u_q_step = 1 / 32500.0;  // half a unit of largest / 16256, and the rounding of its reciprocal
  a.u_p_page = kPageRoundings[kPageBytes];
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
