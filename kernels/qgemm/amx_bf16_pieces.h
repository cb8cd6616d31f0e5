// fp32 and fp16 operands as sums of bf16 pieces, multiplied by the AMX bf16 kernel: a product of
// two operands becomes kProducts products of pieces, which is a GEMM of kProducts times the K
// (piece_products.h).
//
// A non-finite operand has one piece, which enters one product: ∞ times a piece that is 0, or of
// the other sign, would make NaN.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>

#include "harness/variant.h"
#include "kernels/qgemm/amx_bf16.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/piece_products.h"
#include "kernels/qgemm/store_avx512.h"
#include "kernels/qgemm/tile_gemm.h"
#include "kernels/vector_avx512.h"
#include "reference/qgemm.h"

namespace pareto {

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

/// Pieces of 32 elements of `t` from `first` on, in the order of the products: x's or w's. Elements
/// from `count` on are 0 and not read.
template <int kProducts>
void pieces_of_32_avx512(const Tensor& t, std::int64_t first, std::int64_t count,
                         int PieceProduct::*operand, __m512i (&words)[kProducts]) {
  constexpr int kPieces = kProducts == 3 ? 2 : 3;
  constexpr float kLargestBf16 = 0x1.fep127F;
  const __m512 largest = _mm512_set1_ps(kLargestBf16);
  const __m512 infinity = _mm512_set1_ps(std::numeric_limits<float>::infinity());
  __m512i piece[kPieces] = {};
  __mmask32 finite = 0;
  for (int half = 0; half < 2; ++half) {
    const __m512 value =
        load_float_avx512(t.data, t.dtype, first + 16 * half, first_lanes(count - 16 * half));
    const __mmask16 is_finite = _mm512_cmp_ps_mask(_mm512_abs_ps(value), infinity, _CMP_LT_OQ);
    finite |= static_cast<__mmask32>(is_finite) << (16 * half);
    // Nothing finite becomes infinite: what is cut off is part of the next piece.
    const __m512 below = _mm512_mask_min_ps(value, is_finite, value, largest);
    const __m512 within =
        _mm512_mask_max_ps(below, is_finite, below, _mm512_set1_ps(-kLargestBf16));
    __m512 rest = value;
#pragma GCC unroll 3
    for (int i = 0; i < kPieces; ++i) {
      const __m256i rounded = to_bf16_avx512(i == 0 ? within : rest);
      piece[i] =
          half == 0 ? _mm512_castsi256_si512(rounded) : _mm512_inserti64x4(piece[i], rounded, 1);
      rest = _mm512_maskz_sub_ps(is_finite, rest, from_bf16_avx512(rounded));
    }
  }
#pragma GCC unroll 6
  for (int at = 0; at < kProducts; ++at) {
    const __mmask32 kept = at == kProducts - 1 ? ~__mmask32{0} : finite;
    words[at] = _mm512_maskz_mov_epi16(
        kept, piece[kPieceProducts[kMostPieceProducts - kProducts + at].*operand]);
  }
}

/// A strip of x, whose steps are `stride` bytes apart.
template <int kProducts>
void pack_pieces_of_x(const Tensor& x, std::int64_t K, const TileGemm::Strip& strip,
                      std::int64_t stride, std::byte* out) {
  for (std::int64_t k = 0; k < K; k += 32) {
    for (int row = 0; row < strip.rows; ++row) {
      __m512i words[kProducts];
      pieces_of_32_avx512(x, (strip.row + row) * K + k, K - k, &PieceProduct::x, words);
      for (int at = 0; at < kProducts; ++at) {
        _mm512_storeu_si512(out + at * stride + row * kAmxRowBytes, words[at]);
      }
    }
    out += kProducts * stride;
  }
}

/// A panel of W, of the columns from n on.
template <int kProducts>
void pack_pieces_of_w(const Tensor& w, std::int64_t N, std::int64_t K, std::int64_t n,
                      std::uint32_t* out) {
  for (std::int64_t k = 0; k < K; k += 32) {
    for (int column = 0; column < kAmxColumns && n + column < N; ++column) {
      __m512i words[kProducts];
      pieces_of_32_avx512(w, (n + column) * K + k, K - k, &PieceProduct::w, words);
      for (int at = 0; at < kProducts; ++at) {
        alignas(64) std::uint32_t dwords[kAmxStepDwords];
        _mm512_store_si512(dwords, words[at]);
        for (int i = 0; i < kAmxStepDwords; ++i) {
          out[(at * kAmxStepDwords + i) * kAmxColumns + column] = dwords[i];
        }
      }
    }
    out += kProducts * kAmxStepDwords * kAmxColumns;
  }
}

#pragma GCC pop_options

template <typename Amx, int kProducts>
class PiecesQgemm : public Prepared {
 public:
  PiecesQgemm(const QgemmProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        gemm_(AmxBf16Kernel<Amx>::gemm(&store_f32_avx512, p, (p.K + 31) / 32 * kProducts,
                                       pool.size())),
        w_(gemm_.panels() * gemm_.panel_bytes()) {
    const Tensor& w = in[kQgemmW];
    pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.panels(), thread, threads);
      for (std::int64_t panel = begin; panel < end; ++panel) {
        std::byte* out = w_.data() + panel * gemm_.panel_bytes();
        pack_pieces_of_w<kProducts>(w, p_.N, p_.K, panel * kAmxColumns,
                                    reinterpret_cast<std::uint32_t*>(out));
      }
    });
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kStoreColumns);
  }

  void run(const Call& call) override {
    const Tensor& x = call.in[kQgemmX];
    Epilogue epilogue;
    epilogue.y = call.out[kQgemmY];
    epilogue.bias = bias_.data();
    epilogue.activation = p_.activation;
    gemm_.fill_and_multiply(w_.data(), epilogue, call.pool, nullptr,
                            [&](const TileGemm::Strip& strip, int /*thread*/, std::byte* out) {
                              pack_pieces_of_x<kProducts>(x, p_.K, strip, gemm_.chunk_stride(strip),
                                                          out);
                            });
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  QgemmProblem p_;
  typename AmxBf16Kernel<Amx>::Gemm gemm_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> bias_;
};

template <typename Amx, int kProducts>
std::unique_ptr<Prepared> prepare_amx_pieces(const Problem& problem, std::span<const Tensor> in,
                                             ThreadPool& pool) {
  return std::make_unique<PiecesQgemm<Amx, kProducts>>(QgemmProblem::from(problem), in, pool);
}

/// As bf16_arithmetic: what is added for small products is less than one chain over all elements.
template <int kProducts>
Arithmetic pieces_arithmetic(const Problem& problem) {
  Arithmetic a = bf16_arithmetic(problem);
  a.operand_products = kProducts;
  const bool fp16 = QgemmProblem::from(problem).x_dtype == DType::kF16;
  a.u_operand = kProducts == 6 ? kPiecesLost6 : (fp16 ? kPiecesLost3Fp16 : kPiecesLost3);
  return a;
}

}  // namespace pareto
