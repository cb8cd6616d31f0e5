// Attention with bf16 dot products in AVX-512: operands in bf16, E4M3 and int8, whose codes bf16
// holds exactly; P is rounded to bf16, sums are fp32.
//
// Idea: prefill_attention.h and decode_attention.h with 6 × 64 tiles over pairs; vcvtne2ps2bf16
// packs neighbouring weights into the pairs that V's panels expect. Up to 64 keys go through
// short_attention.h, with the same tiles.
// Bottleneck: vdpbf16ps in prefill (twice fp32's rate on Zen 5, half of it on Sapphire Rapids);
// reading K and V in decode.
// Layout: K [keys / 64][d / 2][64][2], V [d_v / 64][keys / 2][64][2]; bf16, in decode of one-byte
// types their codes.
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
#include <vector>

#include "harness/variant.h"
#include "kernels/attention/bf16_products.h"
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
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")

#include "kernels/attention/decode_attention.h"
#include "kernels/attention/lanes_avx512_bf16.h"
#include "kernels/attention/prefill_attention.h"
#include "kernels/attention/short_attention.h"

namespace pareto {
namespace {

struct Bf16Avx512 : Bf16LanesAvx512<2> {
  using Tiles = RegisterTiles<Bf16Avx512>;

  /// Dwords of a row of q or K.
  static std::int64_t steps(std::int64_t head_dim) { return (head_dim + kPair - 1) / kPair; }
  static Reg multiply_add(Reg c, Reg w, Reg x) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(w));
  }
};

using Prefill = PrefillAttention<Bf16Avx512>;
using Decode = DecodeAttention<Bf16Avx512>;
using Short = ShortAttention<Bf16Avx512>;

#pragma GCC pop_options

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const AttentionProblem p = AttentionProblem::from(problem);
  if (Short::takes(p)) return std::make_unique<Short>(p, in, pool);
  if (p.decode()) return std::make_unique<Decode>(p, in, pool);
  return std::make_unique<Prefill>(p, pool);
}

std::string declines(const Problem& problem) {
  return inexact_in_bf16(AttentionProblem::from(problem));
}

const Registration registration{{
    .op = "attention",
    .name = "avx512_bf16",
    .summary = "6x64 tiles of vdpbf16ps, online softmax, P in bf16",
    .needs = Isa::kAvx512 | Isa::kAvx512Bf16,
    .declines = declines,
    .arithmetic = bf16_attention_arithmetic,
    .prepare = prepare,
    .unit = "dot_bf16",
}};

}  // namespace
}  // namespace pareto
