// Quantized GEMM, Y[M,N] = f(X[M,K] · W[N,K]ᵀ + bias[N]): the canonical operands that every kernel
// is given, and a problem with its keys looked up once.
//
// Slots by scheme (G = ⌈K/w_group⌉; all row-major and contiguous; codes beyond K in a last byte or
// block decode to zero; the arithmetic behind the codes is eval.md's). Slot x changes at every
// call; all others, but x_scale and x_zero of integer operands, outlive a call and are seen by
// `prepare`.
//
//   scheme             x            w                      w_scale            other
//   fp32 bf16 fp16     that dtype   that dtype [N,K]       –
//   w8a8 w8a8_asym     fp32         s8 [N,K]               fp32 [N]
//   w8a8_tensor        fp32         s8 [N,K]               fp32 [N], all equal
//   w8a8_static        fp32         s8 [N,K]               fp32 [N]           x_scale fp32 [1]
//   w4a16_g128, _g32   bf16|fp16    u8 [N,⌈K/2⌉] nibbles   fp16 [N,G]
//   w4a16_asym_g128    bf16|fp16    u8 [N,⌈K/2⌉] nibbles   fp16 [N,G]         w_zero u8 [N,G], 0…15
//   w4a8_g128          fp32         as w4a16_g128          fp16 [N,G]
//   q8_0 (_a8)         fp32         u8 [N,⌈K/32⌉·34]       –, inside blocks
//   q4_0 (_a8)         fp32         u8 [N,⌈K/32⌉·18]       –, inside blocks
//   q4_k (_a8)         fp32         u8 [N,⌈K/256⌉·144]     –, inside blocks
//   nf4_g64            bf16|fp16    u8 [N,⌈K/2⌉] nibbles   fp32 [N,G] absmax
//   mxfp4              bf16|fp16    u8 [N,⌈K/2⌉] nibbles   u8 [N,G] E8M0
//   mxfp6_e2m3, _e3m2  bf16|fp16    u8 [N,⌈K/4⌉·3] sextets u8 [N,G] E8M0
//   nvfp4              bf16|fp16    u8 [N,⌈K/2⌉] nibbles   E4M3 [N,G]         (below)
//   fp8_e4m3, _e5m2    fp32         E4M3|E5M2 [N,K]        fp32 [N]
//   fp8_e4m3_block128  fp32         E4M3 [N,K]             fp32 [⌈N/128⌉,⌈K/128⌉]
//   mxfp8              fp32         E4M3 [N,K]             u8 [N,G] E8M0
//   operands=s8|u8     s8|u8 [M,K]  s8 [N,K], −128 too     fp32 [N]           (below)
//
// Besides: w_tensor_scale fp32 [1] under nvfp4; x_scale fp32 [M] and, or absent, x_zero s32 [M]
// with integer operands; bias fp32 [N], or absent, under every scheme.
//
// Nibbles: byte j of a row holds k = 2j low and k = 2j+1 high. int4: code = value + 8 (asym: value
// = (code − zero)·scale). nf4: index into kNf4Table. mxfp4, nvfp4: E2M1 codes. Sextets: code k
// stands in bits 6k … 6k+5 of the row read as a little-endian bit string, so that 4 codes fill 3
// bytes. Blocks are ggml's: q8_0 {fp16 d, s8 q[32]}; q4_0 {fp16 d, u8 q[16]}, byte j holds element
// j low and j+16 high, value (q − 8)·d; q4_k {fp16 d, fp16 dmin, u8 scales[12], u8 q[128]}: see
// block_q4_k.h.
//
// Dynamic schemes (x fp32 in the table but for q8_0, q4_0, q4_k) quantize x inside `run`, to the
// codes of quantize.h exactly; fp32 x of q8_0, q4_0, q4_k is used as it is.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "harness/op.h"
#include "harness/problem.h"
#include "harness/tensor.h"
#include "reference/activation.h"

namespace pareto {

/// Slots of qgemm's operands, as given to a kernel.
enum QgemmSlot : int {
  kQgemmX,
  kQgemmXScale,
  kQgemmXZero,
  kQgemmW,
  kQgemmWScale,
  kQgemmWZero,
  kQgemmWTensorScale,
  kQgemmBias,
  kQgemmSlotCount,
};

/// Output 0 is y; output 1, with integer operands alone, is acc (s32).
enum QgemmOutput : int { kQgemmY, kQgemmAcc };

/// How x is multiplied.
enum class XKind : std::uint8_t {
  kFloat,     ///< as given: fp32, bf16 or fp16
  kS8Row,     ///< one scale per row of x
  kS8Tensor,  ///< one scale, from this call's x
  kS8Static,  ///< one scale, from slot x_scale; saturating
  kU8Row,     ///< scale and zero point per row
  kS8Group,   ///< one scale per row and group of x_group
  kFp8Row,    ///< fp8_dtype, one fp32 scale per row
  kFp8Group,  ///< E4M3, one fp32 scale per row and group of x_group
  kMxfp8,     ///< E4M3, one E8M0 scale per row and group of x_group
  kInteger,   ///< codes given as s8 or u8
};

/// How w is stored.
enum class WKind : std::uint8_t {
  kFloat,
  kS8,
  kInt4,
  kInt4Asym,
  kQ8Block,   ///< ggml q8_0
  kQ4Block,   ///< ggml q4_0
  kQ4kBlock,  ///< ggml q4_k
  kNf4,
  kMxfp4,
  kMxfp6E2m3,
  kMxfp6E3m2,
  kNvfp4,
  kFp8Row,
  kFp8Block,  ///< one fp32 scale per 128 × 128
  kMxfp8,
};

/// One row of the table of schemes.
struct QgemmScheme {
  std::string_view name;
  XKind x = XKind::kFloat;
  WKind w = WKind::kFloat;
  std::int64_t x_group = 0;  ///< elements of K under one scale of x; 0: all
  std::int64_t w_group = 0;  ///< elements of K under one scale of w; 0: all (q4_k: 32, sub-blocks)
  DType storage = DType::kF32;  ///< kFloat: dtype of x and w; fp8: dtype of the codes
  bool x16 = false;             ///< x is given in the key `dtype`
};

/// All schemes, in eval.md's order.
std::span<const QgemmScheme> qgemm_schemes();

/// A problem of op qgemm with its keys looked up once: for set-up code of kernels.
struct QgemmProblem {
  std::int64_t M = 0;
  std::int64_t N = 0;
  std::int64_t K = 0;
  const QgemmScheme* scheme = nullptr;
  XKind x_kind = XKind::kFloat;  ///< the scheme's, or kInteger
  WKind w_kind = WKind::kFloat;
  std::int64_t x_group = 0;  ///< as in the scheme, but K where that says 0
  std::int64_t w_group = 0;
  DType x_dtype = DType::kF32;     ///< element type of slot x
  DType fp8_dtype = DType::kE4m3;  ///< codes of the fp8 schemes
  Activation activation = Activation::kNone;
  DType out_dtype = DType::kF32;
  bool has_bias = false;
  bool has_x_zero = false;
  bool ggml_rounding = false;

  static QgemmProblem from(const Problem& problem);

  [[nodiscard]] bool integer_operands() const { return x_kind == XKind::kInteger; }
  /// Some schemes multiply int8 by int4 or int8: their group sums are exact in int32.
  [[nodiscard]] bool integer_products() const;
  /// x is quantized to fp8 by each call.
  [[nodiscard]] bool has_fp8_x() const {
    return x_kind == XKind::kFp8Row || x_kind == XKind::kFp8Group || x_kind == XKind::kMxfp8;
  }
  /// ⌈K / group⌉
  [[nodiscard]] std::int64_t x_groups() const { return groups(x_group); }
  [[nodiscard]] std::int64_t w_groups() const { return groups(w_group); }
  /// Bytes of one row of slot w.
  [[nodiscard]] std::int64_t w_row_bytes() const;

 private:
  [[nodiscard]] std::int64_t groups(std::int64_t group) const {
    return K == 0 ? 0 : (K + group - 1) / group;
  }
};

/// The 16 values of NF4, ascending.
inline constexpr float kNf4Table[16] = {
    -1.0F,
    -0.6961928009986877F,
    -0.5250730514526367F,
    -0.39491748809814453F,
    -0.28444138169288635F,
    -0.18477343022823334F,
    -0.09105003625154495F,
    0.0F,
    0.07958029955625534F,
    0.16093020141124725F,
    0.24611230194568634F,
    0.33791524171829224F,
    0.44070982933044434F,
    0.5626170039176941F,
    0.7229568362236023F,
    1.0F,
};

}  // namespace pareto
