// The AMX prefill kernel, over either implementation of the tiles.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "harness/variant.h"
#include "kernels/amx_tile.h"
#include "kernels/attention/finish_row.h"
#include "kernels/attention/kv_rows.h"
#include "kernels/attention/packed_kv.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/attention/task_rows.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/vector_avx512.h"
#include "reference/attention.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")

#include "kernels/attention/amx_tiles.h"
#include "kernels/attention/lanes_avx512_bf16.h"
#include "kernels/attention/prefill_attention.h"
#include "kernels/attention/tile_pipeline.h"

namespace pareto {

template <typename Amx>
struct AttentionAmxBf16 : Bf16LanesAvx512<kAmxRowBytes / 2> {
  using Tiles = AmxAttentionTiles<Amx>;
  static constexpr int kRows = Tiles::kRows;

  /// Dwords of a row of q or K, in whole steps of the tiles.
  static std::int64_t steps(std::int64_t head_dim) {
    constexpr std::int64_t kElements = Tiles::kStepDwords * kPair;
    return (head_dim + kElements - 1) / kElements * Tiles::kStepDwords;
  }
  static bool any_above(__m512 x, float limit) {
    return _mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_GT_OQ) != 0;
  }
  /// As store_weights; returns sums of the pairs as rounded.
  __attribute__((always_inline)) static __m512 store_summed(std::uint32_t* p, const Reg (&x)[2]) {
    constexpr int kOnes = 0x3f803f80;
    const __m512i pairs = to_pairs(x[0], x[1]);
    _mm512_storeu_si512(p, pairs);
    return _mm512_dpbf16_ps(_mm512_setzero_ps(), reinterpret_cast<__m512bh>(pairs),
                            reinterpret_cast<__m512bh>(_mm512_set1_epi32(kOnes)));
  }
  /// A register of words of weights.
  static void scale_weights(std::uint32_t* p, __m512 by) {
    const __m512i pairs = _mm512_loadu_si512(p);
    const __m512 low = from_bf16_avx512(_mm512_castsi512_si256(pairs));
    const __m512 high = from_bf16_avx512(_mm512_extracti64x4_epi64(pairs, 1));
    _mm512_storeu_si512(p, to_pairs(_mm512_mul_ps(low, by), _mm512_mul_ps(high, by)));
  }
};

#pragma GCC pop_options

template <typename Amx>
std::unique_ptr<Prepared> prepare_attention_amx_bf16(const Problem& problem,
                                                     std::span<const Tensor> /*in*/,
                                                     ThreadPool& pool) {
  using Lanes = AttentionAmxBf16<Amx>;
  return std::make_unique<PrefillAttention<Lanes, TilePipeline<Lanes>>>(
      AttentionProblem::from(problem), pool);
}

}  // namespace pareto
