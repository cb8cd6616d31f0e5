// Decode with bf16 dot products in AVX-512: a bf16 KV cache, read once for all query heads; P is
// rounded to bf16, sums are fp32.
//
// Idea: paged_decode.h; a page of 32 keys lies as the tiles read it, lanes are keys in Q·Kᵀ and
// columns in P·V, so that no sum over lanes is needed until a row is done.
// Bottleneck: reading the cache; the dot products from about 16 query heads per KV head on.
// Layout: pages of K [d / 2][32][2], V [d_v / 64][16][64][2].
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
#include "kernels/attention/decode_bf16_arithmetic.h"
#include "kernels/attention/decode_pages.h"
#include "kernels/attention/decode_split.h"
#include "kernels/attention/finish_row.h"
#include "kernels/attention/part_sums.h"
#include "kernels/attention/task_rows.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/vector_avx512.h"
#include "reference/attention.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")

#include "kernels/attention/decode_bf16_lanes.h"
#include "kernels/attention/decode_float_pages.h"

namespace pareto {
namespace {

struct DecodeBf16Avx512 : DecodeBf16Lanes {
  static constexpr std::int64_t kLoadBytes = 64;

  static Reg load_one(const std::byte* p) { return _mm512_loadu_ps(p); }
  static void load_two(const std::byte* p, Reg& low, Reg& high) {
    low = load_one(p);
    high = load_one(p + kLoadBytes);
  }
  static float value_at(const std::byte* v, std::int64_t element) {
    const std::uint32_t code = reinterpret_cast<const std::uint16_t*>(v)[element];
    return std::bit_cast<float>(code << 16U);
  }
};

using Kernel = PagedDecode<DecodeFloatPages<DecodeBf16Avx512>>;

#pragma GCC pop_options

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<Kernel>(AttentionProblem::from(problem), in, pool);
}

std::string declines(const Problem& problem) {
  const AttentionProblem p = AttentionProblem::from(problem);
  return p.kv_dtype == DType::kBf16 ? decode_bf16_declines_q(p.q_dtype)
                                    : "takes K and V in bf16 only";
}

const Registration registration{{
    .op = "attention",
    .name = "avx512_bf16_decode",
    .summary = "one pass over a cache of pages for all query heads, vdpbf16ps, P in bf16",
    .needs = Isa::kAvx512 | Isa::kAvx512Bf16,
    .limits = {{.key = "seq_q", .max = kAttentionDecodeRows}},
    .declines = declines,
    .arithmetic = decode_bf16_arithmetic,
    .prepare = prepare,
    .unit = "dot_bf16",
}};

}  // namespace
}  // namespace pareto
