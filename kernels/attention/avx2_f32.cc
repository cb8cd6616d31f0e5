// Attention in fp32 with AVX2, for operands of every type.
//
// Idea: blocked_attention.h with 6 × 16 tiles: 12 accumulators, 2 loads, 1 broadcast per step.
// Bottleneck: multiply-add units in prefill; reading K and V in decode.
// Layout: K [keys / 16][d][16], V [d_v / 16][keys][16]; fp32 in prefill, the operands' own type in
// decode.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "harness/variant.h"
#include "kernels/attention/finish_row.h"
#include "kernels/attention/packed_kv.h"
#include "kernels/attention/part_sums.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/attention/task_rows.h"
#include "kernels/vector_avx2.h"
#include "reference/attention.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

#include "kernels/attention/blocked_attention.h"
#include "kernels/attention/lanes_avx2.h"

namespace pareto {
namespace {

struct F32Avx2 : AttentionLanesAvx2 {
  static constexpr DType kWord = DType::kF32;
  static constexpr int kPair = 1;
  static constexpr int kExpDegree = 5;

  static Reg multiply_add(Reg c, Reg w, Reg x) { return _mm256_fmadd_ps(x, w, c); }
  static void store_weights(std::uint32_t* p, const Reg (&x)[kColumns]) {
    _mm256_storeu_ps(reinterpret_cast<float*>(p), x[0]);
    _mm256_storeu_ps(reinterpret_cast<float*>(p) + kLanes, x[1]);
  }
  static float word_at(const std::uint32_t* words, std::int64_t element) {
    return reinterpret_cast<const float*>(words)[element];
  }
  static void pack_q(const Tensor& q, std::int64_t i, std::int64_t count, std::uint32_t* out) {
    const auto bytes = static_cast<std::int64_t>(size_of(q.dtype));
    for (std::int64_t c = 0; c < count; c += kLanes) {
      _mm256_storeu_ps(reinterpret_cast<float*>(out + c),
                       load_codes_avx2(q.data, q.dtype, bytes, i + c, count - c));
    }
  }
  /// Keys [first, last) of one panel.
  static void pack_k(const KvRows& rows, const KvLayout& layout, std::int64_t first,
                     std::int64_t last, std::uint32_t* k) {
    const auto bytes = static_cast<std::int64_t>(size_of(rows.dtype));
    auto* panel = reinterpret_cast<float*>(k) + first / kPanel * layout.k_panel_size();
    for (std::int64_t at = 0; at < kPanel; at += kLanes) {
      for (std::int64_t c = 0; c < layout.steps; c += kLanes) {
        Reg block[kLanes];
        for (int i = 0; i < kLanes; ++i) {
          const std::int64_t j = first + at + i;
          block[i] = j < last ? load_codes_avx2(rows.data, rows.dtype, bytes, rows.element(j) + c,
                                                rows.count - c)
                              : _mm256_setzero_ps();
        }
        transpose_avx2(block);
        const std::int64_t steps = std::min<std::int64_t>(kLanes, layout.steps - c);
        for (std::int64_t i = 0; i < steps; ++i) {
          _mm256_storeu_ps(panel + (c + i) * kPanel + at, block[i]);
        }
      }
    }
  }
  /// True if a value is not finite.
  static bool pack_v(const KvRows& rows, const KvLayout& layout, std::int64_t first,
                     std::int64_t last, std::uint32_t* v) {
    const auto bytes = static_cast<std::int64_t>(size_of(rows.dtype));
    bool odd = false;
    for (std::int64_t j = first; j < first + kPanel; ++j) {
      const std::int64_t element = j < last ? rows.element(j) : 0;
      const std::int64_t count = j < last ? rows.count : 0;
      for (std::int64_t c = 0; c < layout.v_panels * kPanel; c += kLanes) {
        const Reg x = load_codes_avx2(rows.data, rows.dtype, bytes, element + c, count - c);
        odd = odd || any_non_finite(x);
        _mm256_storeu_ps(reinterpret_cast<float*>(v) + layout.v_at(c / kPanel, j) + c % kPanel, x);
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
  template <DType kType, int kBytes>
  static void widen_codes(const std::byte* stored, std::int64_t count, std::uint32_t* out) {
    for (std::int64_t i = 0; i < count; i += kLanes) {
      _mm256_storeu_ps(reinterpret_cast<float*>(out + i),
                       load_codes_avx2(stored + i * kBytes, kType));
    }
  }
};

using Kernel = BlockedAttention<F32Avx2>;

#pragma GCC pop_options

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<Kernel>(AttentionProblem::from(problem), in, pool);
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
