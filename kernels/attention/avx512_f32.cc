// Attention in fp32 with AVX-512, for operands of every type.
//
// Idea: prefill_attention.h and decode_attention.h with 6 × 64 tiles: 24 accumulators, 4 loads, 1
// broadcast per step.
// Up to 64 keys go through short_attention.h, with the same tiles.
// Bottleneck: multiply-add units in prefill; reading K and V in decode.
// Layout: K [keys / 64][d][64], V [d_v / 64][keys][64]; fp32 in prefill, the operands' own type in
// decode.
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "harness/variant.h"
#include "kernels/attention/finish_row.h"
#include "kernels/attention/kv_rows.h"
#include "kernels/attention/packed_kv.h"
#include "kernels/attention/part_sums.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/attention/task_rows.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/vector_avx512.h"
#include "reference/attention.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

#include "kernels/attention/decode_attention.h"
#include "kernels/attention/lanes_avx512.h"
#include "kernels/attention/prefill_attention.h"
#include "kernels/attention/short_attention.h"

namespace pareto {
namespace {

struct F32Avx512 : AttentionLanesAvx512 {
  using Tiles = RegisterTiles<F32Avx512>;
  static constexpr DType kWord = DType::kF32;
  static constexpr int kPair = 1;
  static constexpr int kExpDegree = 5;

  static Reg multiply_add(Reg c, Reg w, Reg x) { return _mm512_fmadd_ps(x, w, c); }
  /// Dwords of a row of q or K.
  static std::int64_t steps(std::int64_t head_dim) { return head_dim; }
  template <int C>
  static void store_weights(std::uint32_t* p, const Reg (&x)[C]) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) _mm512_storeu_ps(p + c * kLanes, x[c]);
  }
  static float word_at(const std::uint32_t* words, std::int64_t element) {
    return reinterpret_cast<const float*>(words)[element];
  }
  static void pack_q(const Tensor& q, std::int64_t i, std::int64_t count, std::uint32_t* out) {
    for (std::int64_t c = 0; c < count; c += kLanes) {
      _mm512_storeu_ps(out + c, load_codes_avx512(q.data, q.dtype, i + c, first_lanes(count - c)));
    }
  }
  static void pack_k(const KvRows& rows, const KeyRange& keys, std::int64_t steps,
                     std::int64_t stride, std::uint32_t* panel) {
    pack_k_panel_avx512(rows, keys, steps, stride, KeyLoad{rows}, panel);
  }
  /// V of one panel of keys; true if a value is not finite.
  static bool pack_v(const KvRows& rows, const KeyRange& keys, std::int64_t v_panels,
                     std::int64_t v_stride, std::uint32_t* v) {
    bool odd = false;
    for (std::int64_t j = 0; j < keys.size(); ++j, v += kPanel) {
      const std::int64_t element = rows.element(keys.lo + j);
      for (std::int64_t c = 0; c < v_panels * kPanel; c += kLanes) {
        const Reg x =
            load_codes_avx512(rows.data, rows.dtype, element + c, first_lanes(rows.count - c));
        odd = odd || any_non_finite(x);
        _mm512_storeu_ps(v + c / kPanel * v_stride + c % kPanel, x);
      }
    }
    return odd;
  }
  static void widen(const std::byte* stored, DType dtype, std::int64_t count, std::uint32_t* out) {
    switch (dtype) {
      case DType::kBf16:
        return widen_codes<DType::kBf16, 2>(stored, count, out);
      case DType::kF16:
        return widen_codes<DType::kF16, 2>(stored, count, out);
      case DType::kE4m3:
        return widen_codes<DType::kE4m3, 1>(stored, count, out);
      default:
        return widen_codes<DType::kS8, 1>(stored, count, out);
    }
  }

 private:
  /// 16 elements of a key.
  struct KeyLoad {
    const KvRows& rows;
    __m512i operator()(std::int64_t element, std::int64_t c) const {
      return _mm512_castps_si512(
          load_codes_avx512(rows.data, rows.dtype, element + c, first_lanes(rows.count - c)));
    }
  };

  template <DType kType, int kBytes>
  static void widen_codes(const std::byte* stored, std::int64_t count, std::uint32_t* out) {
    for (std::int64_t i = 0; i < count; i += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(stored) + i * kBytes + kCacheAheadBytes,
                   _MM_HINT_T0);
#pragma GCC unroll 4
      for (int lane = 0; lane < 64; lane += kLanes) {
        _mm512_storeu_ps(out + i + lane, load_codes_avx512(stored, kType, i + lane, 0xffff));
      }
    }
  }
};

using Prefill = PrefillAttention<F32Avx512>;
using Decode = DecodeAttention<F32Avx512>;
using Short = ShortAttention<F32Avx512>;

#pragma GCC pop_options

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const AttentionProblem p = AttentionProblem::from(problem);
  if (Short::takes(p)) return std::make_unique<Short>(p, in, pool);
  if (p.decode()) return std::make_unique<Decode>(p, in, pool);
  return std::make_unique<Prefill>(p, pool);
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.u_exp = 0x1p-21;
  a.kv_block = keys_per_block(AttentionProblem::from(problem));
  return a;
}

const Registration registration{{
    .op = "attention",
    .name = "avx512_f32",
    .summary = "6x64 tiles of fp32 FMA, online softmax; any operand type, decoded while packing",
    .needs = static_cast<IsaSet>(Isa::kAvx512),
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
