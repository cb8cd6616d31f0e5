// W decoded to bf16 a chunk of a panel at a time, for the tiles of AMX.
#pragma once

#include <cstdint>
#include <iterator>
#include <memory>
#include <span>
#include <utility>

#include "harness/variant.h"
#include "kernels/qgemm/amx_gemm.h"
#include "kernels/qgemm/dequant_avx512.h"
#include "kernels/qgemm/dequant_gemm_avx512.h"
#include "reference/qgemm.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace pareto {

/// The largest bf16 number below a weight in magnitude, and the rest, which bf16 will round where
/// it has more than 8 bits: below 2^-16 of the weight is lost. Of no weight but 0 the rest is 0,
/// and signs agree, lest ∞ times the rest become NaN where the product is ∞; nor is the part below
/// ∞ NaN: it is the largest number, and the rest ∞.
struct SplitPair {
  DecodedPair below;
  DecodedPair rest;
};
inline __m512 bf16_below_avx512(__m512 v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __mmask16 any = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x7fffffff));
  const __m512i less = _mm512_mask_sub_epi32(bits, any, bits, _mm512_set1_epi32(1));
  return _mm512_castsi512_ps(
      _mm512_and_si512(less, _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
}
inline SplitPair split_avx512(const DecodedPair& pair) {
  const DecodedPair below{bf16_below_avx512(pair.even), bf16_below_avx512(pair.odd)};
  return {below, {_mm512_sub_ps(pair.even, below.even), _mm512_sub_ps(pair.odd, below.odd)}};
}

/// Decodes `groups` groups of one panel to pairs of bf16, every 16 rows of them as two pieces.
template <DequantFormat kFormat>
void unpack_pieces_avx512(const std::byte* packed, std::int64_t groups, const std::byte* /*next*/,
                          std::byte* w) {
  constexpr int kPairBytes = is_nibble(kFormat.codes) ? 32 : 64;
  static_assert(kFormat.group % 32 == 0);
  for (; groups > 0; --groups, packed += kFormat.step_bytes()) {
    const ColumnAffine<kFormat> left(packed, 0);
    const ColumnAffine<kFormat> right(packed, 1);
    const std::byte* codes = packed;
    for (int step = 0; step < kFormat.group / 32; ++step, w += kAmxPanelStepBytes) {
      for (int pair = 0; pair < kAmxStepDwords; ++pair, codes += kPairBytes, w += 128) {
        _mm_prefetch(reinterpret_cast<const char*>(codes) + kStreamAheadBytes, _MM_HINT_T0);
        const SplitPair a = split_avx512(decode_pair_avx512<kFormat>(codes, 0, left));
        const SplitPair b = split_avx512(decode_pair_avx512<kFormat>(codes, 1, right));
        _mm512_store_si512(w, interleave_bf16(a.below));
        _mm512_store_si512(w + 64, interleave_bf16(b.below));
        _mm512_store_si512(w + kAmxPanelStepBytes, interleave_bf16(a.rest));
        _mm512_store_si512(w + kAmxPanelStepBytes + 64, interleave_bf16(b.rest));
      }
    }
  }
}

template <std::size_t kIndex>
constexpr UnpackFunction unpack_pieces_of() {
  if constexpr (kDequantFormats[kIndex].group % 32 == 0) {
    return &unpack_pieces_avx512<kDequantFormats[kIndex]>;
  } else {
    return nullptr;
  }
}
template <std::size_t... kIndex>
UnpackFunction find_unpack_pieces(const DequantFormat& format,
                                  std::index_sequence<kIndex...> /*all*/) {
  static constexpr UnpackFunction kFunctions[] = {unpack_pieces_of<kIndex>()...};
  for (std::size_t i = 0; i < sizeof...(kIndex); ++i) {
    if (kDequantFormats[i] == format) return kFunctions[i];
  }
  return nullptr;
}

/// kPieces 1: weights are exact in bf16; 2: in two pieces.
template <typename Amx, int kPieces>
struct AmxDequantTiles {
  static constexpr bool kBf16 = true;
  static constexpr int kStripRows = kAmxStripRows;
  static constexpr int kPerStep = 2 * kAmxStepDwords;
  using Gemm = AmxGemm<Amx, AmxBf16, kPieces>;

  static Gemm gemm(const DequantFormat& format, const QgemmProblem& p, std::int64_t steps,
                   int threads) {
    constexpr auto kAll = std::make_index_sequence<std::size(kDequantFormats)>{};
    AmxPanels panels;
    panels.unpack =
        kPieces == 1 ? find_unpack<true>(format, kAll) : find_unpack_pieces(format, kAll);
    panels.unit_steps = std::max(format.group / kPerStep, 1);
    panels.unit_groups = std::max(kPerStep / format.group, 1);
    panels.group_bytes = format.step_bytes();
    return Gemm(&store_f32_avx512, p.M, p.N, steps, threads, panels);
  }
  static void pack(FloatStrips<true>& strips, const Tensor& x, const TileGemm::Strip& strip,
                   int thread, const Gemm& gemm, std::byte* out) {
    strips.pack_chunks(x, strip, thread, gemm.chunk_stride(strip), out);
  }
};

/// Does bf16 hold the scheme's weights exactly?
inline bool exact_in_bf16(const QgemmProblem& p) {
  switch (p.w_kind) {
    case WKind::kMxfp4:
    case WKind::kMxfp6E2m3:
    case WKind::kMxfp6E3m2:
    case WKind::kNvfp4:
    case WKind::kFp8Row:
    case WKind::kMxfp8:
      return true;
    default:
      return false;
  }
}

template <typename Amx>
std::unique_ptr<Prepared> prepare_amx_dequant(const Problem& problem, std::span<const Tensor> in,
                                              ThreadPool& pool) {
  const QgemmProblem p = QgemmProblem::from(problem);
  if (exact_in_bf16(p)) {
    return std::make_unique<DequantQgemm<AmxDequantTiles<Amx, 1>>>(p, in, pool);
  }
  return std::make_unique<DequantQgemm<AmxDequantTiles<Amx, 2>>>(p, in, pool);
}

}  // namespace pareto

#pragma GCC pop_options
