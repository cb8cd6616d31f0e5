// Decode with bf16 dot products in AVX-512 on a KV cache in E4M3, whose values bf16 holds exactly;
// P is rounded to bf16, sums are fp32.
//
// Idea: avx512_bf16_decode with codes looked up as they are loaded: the upper and the lower bytes
// of 64 bf16 numbers in two tables of 128 bytes (VBMI), interleaved into two registers. Bottleneck:
// dot products and look-ups on Zen 4, reading the cache where both run twice per cycle. Layout:
// pages of K [d / 2][32][2], V [d_v / 64][16][64][2] in bytes, in the order that interleaving
// wants.
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "harness/variant.h"
#include "kernels/attention/decode_bf16_arithmetic.h"
#include "kernels/attention/decode_pages.h"
#include "kernels/attention/decode_split.h"
#include "kernels/attention/finish_row.h"
#include "kernels/attention/part_sums.h"
#include "kernels/attention/task_rows.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/vector_avx512.h"
#include "reference/attention.h"

namespace pareto {
namespace {

/// bf16 of a positive E4M3 code.
constexpr std::uint32_t bf16_of_e4m3(std::uint32_t code) {
  constexpr std::uint32_t kBias = 127 - 7;
  const std::uint32_t mantissa = code & 7U;
  if (code == 0x7f) return 0x7fc0;  // NaN
  if (code >= 8) return ((code >> 3U) + kBias) << 7U | mantissa << 4U;
  if (mantissa == 0) return 0;
  // Subnormal, mantissa · 2^-9.
  const auto top = static_cast<std::uint32_t>(std::bit_width(mantissa)) - 1;
  return (top + 127 - 9) << 7U | (mantissa << (7 - top) & 0x7fU);
}

/// Byte `which` of each.
constexpr std::array<std::uint8_t, 128> bytes_of_codes(int which) {
  std::array<std::uint8_t, 128> bytes{};
  for (std::uint32_t code = 0; code < 128; ++code) {
    bytes[code] = static_cast<std::uint8_t>(bf16_of_e4m3(code) >> (8 * which));
  }
  return bytes;
}
alignas(64) constexpr std::array<std::uint8_t, 128> kLowBytes = bytes_of_codes(0);
alignas(64) constexpr std::array<std::uint8_t, 128> kHighBytes = bytes_of_codes(1);

}  // namespace
}  // namespace pareto

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vbmi,avx2,fma,f16c")

#include "kernels/attention/decode_bf16_lanes.h"
#include "kernels/attention/decode_float_pages.h"

namespace pareto {
namespace {

struct DecodeFp8Avx512 : DecodeBf16Lanes {
  static constexpr int kRows = 4;  // leaves registers for the tables
  static constexpr int kColumnStep = 2;
  static constexpr CodeOrder kOrder = CodeOrder::kHalves;
  static constexpr std::int64_t kLoadBytes = 32;

  static void load_two(const std::byte* p, Reg& low, Reg& high) {
    const __m512i codes = _mm512_loadu_si512(p);
    const __m512i low_bytes = _mm512_permutex2var_epi8(_mm512_load_si512(kLowBytes.data()), codes,
                                                       _mm512_load_si512(kLowBytes.data() + 64));
    const __m512i magnitude = _mm512_permutex2var_epi8(_mm512_load_si512(kHighBytes.data()), codes,
                                                       _mm512_load_si512(kHighBytes.data() + 64));
    constexpr int kOrAnd = 0xf8;  // a | (b & c)
    const __m512i high_bytes =
        _mm512_ternarylogic_epi64(magnitude, codes, _mm512_set1_epi8(-128), kOrAnd);
    low = _mm512_castsi512_ps(_mm512_unpacklo_epi8(low_bytes, high_bytes));
    high = _mm512_castsi512_ps(_mm512_unpackhi_epi8(low_bytes, high_bytes));
  }
  /// For values beside one that is not finite, which E4M3 caches do not hold.
  static float value_at(const std::byte* v, std::int64_t element) {
    return first(load_codes_avx512(v, DType::kE4m3, element, 1));
  }
};

using Kernel = PagedDecode<DecodeFloatPages<DecodeFp8Avx512>>;

#pragma GCC pop_options

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<Kernel>(AttentionProblem::from(problem), in, pool);
}

std::string declines(const Problem& problem) {
  const AttentionProblem p = AttentionProblem::from(problem);
  return p.kv_dtype == DType::kE4m3 ? decode_bf16_declines_q(p.q_dtype)
                                    : "takes K and V in fp8_e4m3 only";
}

const Registration registration{{
    .op = "attention",
    .name = "avx512_fp8_decode",
    .summary = "one pass over a cache of E4M3 pages for all query heads, vdpbf16ps, P in bf16",
    .needs = Isa::kAvx512 | Isa::kAvx512Bf16 | Isa::kAvx512Vbmi2,
    .limits = {{.key = "seq_q", .max = kAttentionDecodeRows}},
    .declines = declines,
    .arithmetic = decode_bf16_arithmetic,
    .prepare = prepare,
    .unit = "dot_bf16",
}};

}  // namespace
}  // namespace pareto
