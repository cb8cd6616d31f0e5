// Decode with fp32 multiply-adds in AVX-512: every type of KV cache, widened as it is loaded.
//
// Idea: paged_decode.h; a page of 32 keys lies as the tiles read it, lanes are keys in Q·Kᵀ and
// columns in P·V, so that no sum over lanes is needed until a row is done.
// Bottleneck: reading the cache; the multiply-adds from about 8 query heads per KV head on.
// Layout: pages of K [d][32], V [d_v / 64][32][64] in the type of the cache.
#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
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
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

#include "kernels/attention/decode_float_pages.h"
#include "kernels/attention/decode_lanes_avx512.h"

namespace pareto {
namespace {

/// K and V of type kStored.
template <DType kStored>
struct DecodeF32Avx512 : DecodeLanesAvx512 {
  static constexpr int kPair = 1;
  static constexpr int kExpDegree = 5;
  static constexpr std::int64_t kLoadBytes = kLanes * kBytesOf<kStored>;

  static Reg load_one(const std::byte* p) {
    if constexpr (kStored == DType::kF32) return _mm512_loadu_ps(p);
    if constexpr (kStored == DType::kBf16) return from_bf16_avx512(load_half(p));
    if constexpr (kStored == DType::kF16) return _mm512_cvtph_ps(load_half(p));
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return kStored == DType::kS8 ? _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes))
                                 : from_e4m3_avx512(codes);
  }
  static void load_two(const std::byte* p, Reg& low, Reg& high) {
    low = load_one(p);
    high = load_one(p + kLoadBytes);
  }
  static Reg multiply_add(Reg c, Reg w, Reg x) { return _mm512_fmadd_ps(w, x, c); }
  static void store_page_weights(std::uint32_t* p, const Reg (&w)[2]) {
    _mm512_storeu_ps(p, w[0]);
    _mm512_storeu_ps(p + kLanes, w[1]);
  }
  static float weight_at(const std::uint32_t* weights, std::int64_t j) {
    return std::bit_cast<float>(weights[j]);
  }
  static float value_at(const std::byte* v, std::int64_t element) {
    return first(load_codes_avx512(v, kStored, element, 1));
  }
  static void pack_q(const Tensor& q, std::int64_t at, std::int64_t count, std::uint32_t* out) {
    for (std::int64_t c = 0; c < count; c += kLanes) {
      _mm512_storeu_ps(out + c, load_codes_avx512(q.data, q.dtype, at + c, first_lanes(count - c)));
    }
  }

 private:
  static __m256i load_half(const std::byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
};

template <DType kStored>
using Kernel = PagedDecode<DecodeFloatPages<DecodeF32Avx512<kStored>>>;

#pragma GCC pop_options

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const AttentionProblem p = AttentionProblem::from(problem);
  switch (p.kv_dtype) {
    case DType::kBf16:
      return std::make_unique<Kernel<DType::kBf16>>(p, in, pool);
    case DType::kF16:
      return std::make_unique<Kernel<DType::kF16>>(p, in, pool);
    case DType::kE4m3:
      return std::make_unique<Kernel<DType::kE4m3>>(p, in, pool);
    case DType::kS8:
      return std::make_unique<Kernel<DType::kS8>>(p, in, pool);
    default:
      return std::make_unique<Kernel<DType::kF32>>(p, in, pool);
  }
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.u_exp = 0x1p-21;
  a.kv_block = 32;
  return a;
}

const Registration registration{{
    .op = "attention",
    .name = "avx512_f32_decode",
    .summary = "one pass over a cache of pages for all query heads, fp32 multiply-adds",
    .needs = static_cast<IsaSet>(Isa::kAvx512),
    .limits = {{.key = "seq_q", .max = kAttentionDecodeRows}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
