// Attention with bf16 dot products in AVX-512: operands in bf16, E4M3 and int8, whose codes bf16
// holds exactly; P is rounded to bf16, sums are fp32.
//
// Idea: blocked_attention.h with 6 × 64 tiles over pairs; vcvtne2ps2bf16 packs neighbouring weights
// into the pairs that V's panels expect.
// Bottleneck: vdpbf16ps in prefill (twice fp32's rate on Zen 5, half of it on Sapphire Rapids);
// reading K and V in decode.
// Layout: K [keys / 64][d / 2][64][2], V [d_v / 64][keys / 2][64][2]; bf16, in decode of one-byte
// types their codes.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
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
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/vector_avx512.h"
#include "reference/attention.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")

#include "kernels/attention/blocked_attention.h"
#include "kernels/attention/lanes_avx512.h"

namespace pareto {
namespace {

/// 32 floats as bf16, in order.
__m512i to_pairs(__m512 low, __m512 high) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
}

/// 32 elements from element i as bf16 pairs; from `count` on they are 0 and not read.
__m512i load_pairs(const std::byte* data, DType dtype, std::int64_t i, std::int64_t count) {
  if (dtype == DType::kBf16) {
    const std::int64_t left = std::clamp<std::int64_t>(count, 0, 32);
    const auto lanes = static_cast<__mmask32>((std::uint64_t{1} << left) - 1);
    return _mm512_maskz_loadu_epi16(lanes, data + i * 2);
  }
  return to_pairs(load_codes_avx512(data, dtype, i, first_lanes(count)),
                  load_codes_avx512(data, dtype, i + 16, first_lanes(count - 16)));
}

/// 16 keys' rows as pairs of d; keys from `keys` on are 0.
struct KeyPairLoad {
  const KvRows& rows;
  std::int64_t first;
  std::int64_t keys;
  __m512i operator()(int i, std::int64_t step) const {
    if (first + i >= keys) return _mm512_setzero_si512();
    const std::int64_t c = 2 * step;
    return load_pairs(rows.data, rows.dtype, rows.element(first + i) + c, rows.count - c);
  }
};

struct Bf16Avx512 : AttentionLanesAvx512 {
  static constexpr DType kWord = DType::kBf16;
  static constexpr int kPair = 2;
  static constexpr int kExpDegree = 4;

  static Reg multiply_add(Reg c, Reg w, Reg x) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(w));
  }
  static void store_weights(std::uint32_t* p, const Reg (&x)[kColumns]) {
    _mm512_storeu_si512(p, to_pairs(x[0], x[1]));
    _mm512_storeu_si512(p + kLanes, to_pairs(x[2], x[3]));
  }
  static float word_at(const std::uint32_t* words, std::int64_t element) {
    const std::uint32_t code = reinterpret_cast<const std::uint16_t*>(words)[element];
    return std::bit_cast<float>(code << 16U);
  }
  static void pack_q(const Tensor& q, std::int64_t i, std::int64_t count, std::uint32_t* out) {
    for (std::int64_t c = 0; c < count; c += 32) {
      _mm512_storeu_si512(out + c / 2, load_pairs(q.data, q.dtype, i + c, count - c));
    }
  }
  /// Keys [first, last) of one panel.
  static void pack_k(const KvRows& rows, const KvLayout& layout, std::int64_t first,
                     std::int64_t last, std::uint32_t* k) {
    std::uint32_t* panel = k + first / kPanel * layout.k_panel_size() / kPair;
    for (std::int64_t at = 0; at < kPanel; at += 16) {
      const KeyPairLoad load{rows, first + at, last};
      for (std::int64_t step = 0; step < layout.steps; step += 16) {
        pack_k_block_avx512(load, step, layout.steps, at, panel);
      }
    }
  }
  /// True if a value is not finite.
  static bool pack_v(const KvRows& rows, const KvLayout& layout, std::int64_t first,
                     std::int64_t last, std::uint32_t* v) {
    bool odd = false;
    for (std::int64_t j = first; j < first + kPanel; j += 2) {
      for (std::int64_t c = 0; c < layout.v_panels * kPanel; c += kLanes) {
        const __m512i low = value_bits(rows, j, last, c);
        const __m512i high = value_bits(rows, j + 1, last, c);
        odd = odd || any_non_finite(_mm512_castsi512_ps(low)) ||
              any_non_finite(_mm512_castsi512_ps(high));
        _mm512_storeu_si512(v + layout.v_at(c / kPanel, j) / kPair + c % kPanel,
                            _mm512_or_si512(_mm512_srli_epi32(low, 16), high));
      }
    }
    return odd;
  }
  static void widen(const std::byte* stored, DType dtype, std::int64_t count, std::uint32_t* out) {
    return dtype == DType::kS8 ? widen_codes<DType::kS8>(stored, count, out)
                               : widen_codes<DType::kE4m3>(stored, count, out);
  }

 private:
  template <DType kType>
  static void widen_codes(const std::byte* stored, std::int64_t count, std::uint32_t* out) {
    for (std::int64_t i = 0; i < count; i += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(stored) + i + kStreamAheadBytes, _MM_HINT_T0);
      _mm512_storeu_si512(out + i / 2, load_pairs(stored, kType, i, 32));
      _mm512_storeu_si512(out + i / 2 + kLanes, load_pairs(stored, kType, i + 32, 32));
    }
  }
  /// 16 columns of key j as fp32 whose lower halves are 0.
  static __m512i value_bits(const KvRows& rows, std::int64_t j, std::int64_t last, std::int64_t c) {
    if (j >= last) return _mm512_setzero_si512();
    return _mm512_castps_si512(
        load_codes_avx512(rows.data, rows.dtype, rows.element(j) + c, first_lanes(rows.count - c)));
  }
};

using Kernel = BlockedAttention<Bf16Avx512>;

#pragma GCC pop_options

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<Kernel>(AttentionProblem::from(problem), in, pool);
}

// vdpbf16ps rounds after each of a pair's two products.
Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.u_exp = 0x1p-17;
  a.u_p = kUBf16;
  a.flushes_subnormals = true;
  a.kv_block = keys_per_block(AttentionProblem::from(problem));
  return a;
}

bool exact_in_bf16(DType dtype) {
  return dtype == DType::kBf16 || dtype == DType::kE4m3 || dtype == DType::kS8;
}

std::string declines(const Problem& problem) {
  const AttentionProblem p = AttentionProblem::from(problem);
  if (exact_in_bf16(p.q_dtype) && exact_in_bf16(p.kv_dtype)) return "";
  return "operands in fp32 or fp16 would be rounded to bf16";
}

const Registration registration{{
    .op = "attention",
    .name = "avx512_bf16",
    .summary = "6x64 tiles of vdpbf16ps, online softmax, P in bf16",
    .needs = Isa::kAvx512 | Isa::kAvx512Bf16,
    .declines = declines,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "dot_bf16",
}};

}  // namespace
}  // namespace pareto
