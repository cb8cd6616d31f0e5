// Decode with fp32 multiply-adds in AVX2: every type of KV cache, widened as it is loaded.
//
// Idea: paged_decode.h; a page of 32 keys lies as the tiles read it, lanes are keys in Q·Kᵀ and
// columns in P·V, so that no sum over lanes is needed until a row is done.
// Bottleneck: reading the cache; instructions from about 4 query heads per KV head on.
// Layout: pages of K [2][d][16 keys], V [d_v / 16][32 keys][16 columns] in the type of the cache.
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
#include "kernels/vector_avx2.h"
#include "reference/attention.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

#include "kernels/attention/decode_float_pages.h"
#include "kernels/attention/decode_lanes_avx2.h"

namespace pareto {
namespace {

/// K and V of type kStored.
template <DType kStored>
struct DecodeF32Avx2 : DecodeLanesAvx2 {
  static constexpr int kPageRegs = 4;
  static constexpr int kSums = 8;
  // Two registers of bf16 are widened by one instruction each.
  static constexpr bool kInPairs = kStored == DType::kBf16;
  static constexpr int kColumnStep = kInPairs ? 2 : 1;
  static constexpr CodeOrder kOrder = kInPairs ? CodeOrder::kLaneHalves : CodeOrder::kPlain;
  static constexpr int kPair = 1;
  static constexpr int kExpDegree = 5;
  static constexpr std::int64_t kLoadBytes = kLanes * kBytesOf<kStored>;

  static Reg load_one(const std::byte* p) { return load_codes_avx2(p, kStored); }
  static void load_two(const std::byte* p, Reg& low, Reg& high) {
    if constexpr (kInPairs) {
      split_bf16_avx2(p, low, high);
    } else {
      low = load_one(p);
      high = load_one(p + kLoadBytes);
    }
  }
  static Reg multiply_add(Reg c, Reg w, Reg x) { return _mm256_fmadd_ps(w, x, c); }
  template <int N>
  static void store_page_weights(std::uint32_t* p, const Reg (&w)[N]) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      store_floats(reinterpret_cast<float*>(p) + n * kLanes, w[n]);
    }
  }
  static float weight_at(const std::uint32_t* weights, std::int64_t j) {
    return std::bit_cast<float>(weights[j]);
  }
  static float value_at(const std::byte* v, std::int64_t element) {
    return first(load_codes_avx2(v, kStored, kBytesOf<kStored>, element, 1));
  }
  static void pack_q(const Tensor& q, std::int64_t at, std::int64_t count, std::uint32_t* out) {
    const auto bytes = static_cast<std::int64_t>(size_of(q.dtype));
    for (std::int64_t c = 0; c < count; c += kLanes) {
      store_floats(reinterpret_cast<float*>(out) + c,
                   load_codes_avx2(q.data, q.dtype, bytes, at + c, count - c));
    }
  }
};

template <DType kStored>
using Kernel = PagedDecode<DecodeFloatPages<DecodeF32Avx2<kStored>>>;

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
    .name = "avx2_f32_decode",
    .summary = "one pass over a cache of pages for all query heads, fp32 multiply-adds",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "seq_q", .max = kAttentionDecodeRows}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32_avx2",
}};

}  // namespace
}  // namespace pareto
