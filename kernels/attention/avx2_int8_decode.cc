// Decode with 16-bit dot products in AVX2 on a KV cache in int8.
//
// Idea: decode_int8_pages.h. Two codes of K or V and two of q or of the weights make the products
// of a dword (vpmaddwd), q and the weights in 15 bits and a sign. Against multiply-adds in fp32:
// as many multiplications, but one instruction widens 16 codes instead of two for 8, and one
// broadcast serves two products. Bottleneck: instructions, about 210 per key and KV head of four
// query heads; reading the cache where each query head has its own.
// Layout: pages of K [d / 2][32][2], V [d_v / 16][16][16][2], scales of 32 keys and values.
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
#include "kernels/vector_avx2.h"
#include "reference/attention.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

#include "kernels/attention/decode_int8_pages.h"
#include "kernels/attention/decode_int8_tiles_avx2.h"
#include "kernels/attention/decode_lanes_avx2.h"
#include "kernels/attention/paged_decode.h"

namespace pareto {
namespace {

constexpr std::int64_t kMaxHeadDim = 512;  // Σ q · k fits int32

struct Int8LanesAvx2 : DecodeLanesAvx2 {
  static constexpr int kExpDegree = 4;
  static constexpr int kPageRegs = kWordPageRegs;
  static constexpr std::int64_t kPair = 2;
  static constexpr int kScoreRows = kWordScoreRows;
  static constexpr int kColumns = kWordColumns;
  static constexpr std::uint8_t kFlip = 0;
  static constexpr int kQueryParts = 1;
  static constexpr float kLargestQ = 32767;
  static constexpr float kWeightSteps = 1 << 14;

  static auto score(std::int64_t rows) { return WordTiles<Int8LanesAvx2>::score(rows); }
  static auto add_values(std::int64_t rows, std::int64_t columns) {
    return WordTiles<Int8LanesAvx2>::add_values(rows, columns);
  }
  static Reg load_q(const Tensor& q, std::int64_t at, std::int64_t count) {
    return load_codes_avx2(q.data, q.dtype, static_cast<std::int64_t>(size_of(q.dtype)), at, count);
  }
  static void pack_codes(const float* q, std::int64_t count, float lift, float inverse,
                         const Int8QueryLayout& /*layout*/, std::uint32_t* words) {
    for (std::int64_t c = 0; c < count; c += 8) {
      const Reg x = V::mul(load_floats(q + c), V::set1(lift));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(words + c / 2),
                       to_words(V::mul(x, V::set1(inverse))));
    }
  }
  static void store_weights(float* to, const Reg (&w)[kPageRegs], float inverse) {
    auto* codes = reinterpret_cast<__m128i*>(to);
#pragma GCC unroll 4
    for (int c = 0; c < kPageRegs; ++c) {
      _mm_storeu_si128(codes + c, to_words(V::mul(w[c], V::set1(inverse))));
    }
  }

 private:
  static __m128i to_words(Reg x) {
    const __m256i whole = _mm256_cvtps_epi32(x);
    return _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  }
};

using Kernel = PagedDecode<DecodeInt8Pages<Int8LanesAvx2>>;

#pragma GCC pop_options

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<Kernel>(AttentionProblem::from(problem), in, pool);
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.u_exp = 0x1p-17;
  a.kv_block = kWordPageKeys;
  a.acc_block = kWordPageKeys;  // exact in between
  a.u_q_step = 1 / 65000.0;  // half a unit of largest / 32767, and the rounding of its reciprocal
  a.u_p_page = kPageRoundings[kPageWords];
  return a;
}

std::string declines(const Problem& problem) {
  const AttentionProblem p = AttentionProblem::from(problem);
  if (p.kv_dtype != DType::kS8) return "takes K and V in int8 only";
  return p.head_dim <= kMaxHeadDim ? "" : "head_dim beyond 512 may overflow int32";
}

const Registration registration{{
    .op = "attention",
    .name = "avx2_int8_decode",
    .summary = "one pass over a cache of int8 pages for all query heads; q and P in 16 bits",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "seq_q", .max = kAttentionDecodeRows}},
    .declines = declines,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "avx2_int8",
}};

}  // namespace
}  // namespace pareto
