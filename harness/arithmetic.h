// What a variant declares about its rounding; every tolerance follows from this and the data.
#pragma once

#include <algorithm>
#include <cstdint>

namespace pareto {

inline constexpr double kU32 = 0x1p-24;    ///< unit roundoff of fp32
inline constexpr double kUBf16 = 0x1p-8;   ///< of bf16
inline constexpr double kUFp16 = 0x1p-11;  ///< of fp16

/// The arithmetic of one variant on one problem. Defaults: fp32 FMA, one chain over K.
struct Arithmetic {
  // Matrix products.
  double u_acc = kU32;           ///< unit of the accumulator: 2^-24 rounding, 2^-23 truncating
  bool acc_truncates = false;    ///< the accumulator truncates (tensor cores)
  int acc_bits = 24;             ///< partial sums up to 2^acc_bits are exact
  std::int64_t acc_block = 1;    ///< products summed per accumulation step (16 for a k16 MMA)
  std::int64_t acc_promote = 0;  ///< products after which the sum moves on to fp32; 0: never
  std::int64_t acc_lanes = 1;    ///< partial sums kept side by side and added at the end
  bool integer_acc = false;      ///< int32 accumulation inside a scale group: exact there
  double u_operand = 0;        ///< rounding of an operand inside the kernel (q·s to 16 bits: u_w)
  int epilogue_roundings = 0;  ///< n_e: scale product, scaling, bias (3); 0 for a plain GEMM
  double u_activation = 0x1p-21;    ///< relative error of the activation function in use
  bool relu_drops_nan = false;      ///< max(NaN, 0) is 0 in the library in use
  bool flushes_subnormals = false;  ///< AMX, vdpbf16ps: subnormal inputs and results count as 0
  int operand_products = 1;         ///< operands are sums: so many products of their pieces

  // Attention.
  double u_exp = 0x1p-22;       ///< relative error of the exponential in use
  double u_p = 0;               ///< rounding of P before P·V (0: kept in fp32)
  double p_underflow = 0;       ///< η_P: absolute underflow of P
  bool sums_rounded_p = false;  ///< the row sum adds P after rounding
  std::int64_t kv_block = 0;    ///< B_c, keys per online-softmax block; 0: all keys in one
  double u_q_inner = 0;         ///< u_Q: operands rounded inside the kernel (int8 QK)
  double u_q_step = 0;          ///< absolute rounding of q, in units of its row's largest number
  double u_p_page = 0;          ///< rounding of P·v_scale to integers (kPageRoundings), or 0
  double u_tanh = 0x1p-21;      ///< relative error of the tanh used for softcap

  // Behaviour.
  bool deterministic = true;       ///< the same input gives the same bits
  bool leaks_nonfinite = false;    ///< a non-finite V seen by one row may reach others of its block
  bool multiplies_pruned = false;  ///< sparse: pruned positions are multiplied as zeros

  /// n: longest chain of additions in the accumulator over `terms` products.
  [[nodiscard]] std::int64_t chain(std::int64_t terms) const {
    if (acc_promote > 0) terms = std::min(terms, acc_promote);
    const std::int64_t step = acc_block * acc_lanes;
    const std::int64_t steps = (terms + step - 1) / step;
    std::int64_t tree = 0;
    for (std::int64_t lanes = acc_lanes; lanes > 1; lanes = (lanes + 1) / 2) ++tree;
    return steps + tree;
  }
  /// Additions in fp32 of sums that left the accumulator, over `terms` products.
  [[nodiscard]] std::int64_t promotions(std::int64_t terms) const {
    return acc_promote == 0 ? 0 : (terms + acc_promote - 1) / acc_promote;
  }
};

}  // namespace pareto
