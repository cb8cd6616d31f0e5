// Attention in fp32 with AVX2, for operands of every type.
//
// Idea: prefill_attention.h and decode_attention.h with 6 × 16 tiles: 12 accumulators, 2 loads, 1
// broadcast per step. Up to 64 keys go through short_attention.h, with the same tiles.
// Bottleneck: multiply-add units in prefill; reading K and V in decode.
// Layout: K [keys / 16][d][16], V [d_v / 16][keys][16]; fp32 in prefill, the operands' own type in
// decode.
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "harness/variant.h"
#include "kernels/attention/decode_pages.h"
#include "kernels/attention/finish_row.h"
#include "kernels/attention/kv_rows.h"
#include "kernels/attention/packed_kv.h"
#include "kernels/attention/part_sums.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/attention/task_rows.h"
#include "kernels/vector_avx2.h"
#include "reference/attention.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

#include "kernels/attention/decode_attention.h"
#include "kernels/attention/lanes_avx2.h"
#include "kernels/attention/pack_avx2.h"
#include "kernels/attention/prefill_attention.h"
#include "kernels/attention/short_attention.h"

namespace pareto {
namespace {

struct F32Avx2 : AttentionLanesAvx2 {
  using Tiles = RegisterTiles<F32Avx2>;
  static constexpr DType kWord = DType::kF32;
  static constexpr int kPair = 1;
  static constexpr int kExpDegree = 5;

  static Reg multiply_add(Reg c, Reg w, Reg x) { return _mm256_fmadd_ps(x, w, c); }
  /// Dwords of a row of q or K.
  static std::int64_t steps(std::int64_t head_dim) { return head_dim; }
  template <int C>
  static void store_weights(std::uint32_t* p, const Reg (&x)[C]) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) _mm256_storeu_ps(reinterpret_cast<float*>(p) + c * kLanes, x[c]);
  }
  static float word_at(const std::uint32_t* words, std::int64_t element) {
    return reinterpret_cast<const float*>(words)[element];
  }
  static void pack_q(const Tensor& q, std::int64_t i, std::int64_t count, std::uint32_t* out) {
    packing(q.dtype).row(q.data, i, count, out);
  }
  static void pack_k(const KvRows& rows, const KeyRange& keys, std::int64_t steps,
                     std::int64_t stride, std::uint32_t* panel) {
    packing(rows.dtype).k(rows, keys, steps, stride, panel);
  }
  /// V of one panel of keys; true if a value is not finite.
  static bool pack_v(const KvRows& rows, const KeyRange& keys, std::int64_t v_panels,
                     std::int64_t v_stride, std::uint32_t* v) {
    return packing(rows.dtype).v(rows, keys, v_panels, v_stride, v);
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
  struct Packing {
    void (*row)(const std::byte*, std::int64_t, std::int64_t, std::uint32_t*);
    void (*k)(const KvRows&, const KeyRange&, std::int64_t, std::int64_t, std::uint32_t*);
    bool (*v)(const KvRows&, const KeyRange&, std::int64_t, std::int64_t, std::uint32_t*);
  };
  template <DType kType>
  static constexpr Packing kPacking = {&PackAvx2<kType>::row, &PackAvx2<kType>::k,
                                       &PackAvx2<kType>::v};

  static const Packing& packing(DType dtype) {
    switch (dtype) {
      case DType::kF32:
        return kPacking<DType::kF32>;
      case DType::kBf16:
        return kPacking<DType::kBf16>;
      case DType::kF16:
        return kPacking<DType::kF16>;
      case DType::kE4m3:
        return kPacking<DType::kE4m3>;
      default:
        return kPacking<DType::kS8>;
    }
  }

  template <DType kType, int kBytes>
  static void widen_codes(const std::byte* stored, std::int64_t count, std::uint32_t* out) {
    for (std::int64_t i = 0; i < count; i += kLanes) {
      _mm256_storeu_ps(reinterpret_cast<float*>(out + i),
                       load_codes_avx2(stored + i * kBytes, kType));
    }
  }
};

using Prefill = PrefillAttention<F32Avx2>;
using Decode = DecodeAttention<F32Avx2>;
using Short = ShortAttention<F32Avx2>;

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
    .name = "avx2_f32",
    .summary = "6x16 tiles of fp32 FMA, online softmax; any operand type, decoded while packing",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32_avx2",
}};

}  // namespace
}  // namespace pareto
