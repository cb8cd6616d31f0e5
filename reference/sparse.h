// Sparse layers, Y[M,N] = f(X[M,K] · W[N,K]ᵀ + bias[N]): the canonical operands that every kernel
// is given, and a problem with its keys looked up once.
//
// Slots by format (row-major and contiguous; T is the key `dtype`; absent slots have rank 0). Slot
// x changes at every call; all others outlive it and are seen by `prepare`. b is the block size, R
// = ⌈N/b⌉ block rows, G = ⌈K/4⌉ groups, W = ⌈K/64⌉ words, S = ⌈N/16⌉ slices, nnz the number of
// stored values.
//
//   format   x        values            index        offset     meta            row, row_length
//   csr      T [M,K]  T [nnz]           s32 [nnz]    s64 [N+1]
//   sell     T [M,K]  T [stored]        s32 [stored] s64 [S+1]                  s32 [16·S] each
//   bsr*     T [M,K]  T [blocks,b,b]    s32 [blocks] s64 [R+1]
//   2to4     T [M,K]  T [N,2G]                                  u8 [N,⌈G/2⌉]
//   bitmap   T [M,K]  T [nnz]                        s64 [N+1]  s64 [N,W]
//   skip_x   T [M,K]  w: T [N,K]
//   lowrank  T [M,K]  a: T [N,rank], b: T [rank,K]
//   each                                                                        bias fp32 [N]
//
// What is stored are the weights that are not zero after pruning and rounding to T (NaN is not a
// zero, −0 is). What else the formats hold:
//   csr     row n: values and columns offset[n] … offset[n+1]−1, columns ascending.
//   sell    SELL-C-σ with C = 16, σ = 256: within windows of 256 rows, rows stand by descending
//           number of values (of equals the lower row first), in slices of 16. Entry j of lane l of
//           slice s stands at offset[s] + 16·j + l, columns ascending in j; slice s has
//           (offset[s+1] − offset[s])/16 entries per lane. row[16·s + l] is the row of a lane, −1
//           behind row N−1; row_length its number of values, descending in l. Entries past
//           row_length are value 0, column 0: not part of W.
//   bsr*    block row r: blocks offset[r] … offset[r+1]−1, block columns ascending; a block is
//           [n within][k within]. Blocks without a nonzero are not stored. Positions beyond N or K
//           hold 0.
//   2to4    group g of a row holds values 2g and 2g+1, at k = 4g + idx0 < 4g + idx1 of its nibble
//           idx0 | idx1 << 2, one of 4 8 9 C D E. Byte j of a row of meta: group 2j low, 2j+1 high
//           (4 where there is no such group). A group with fewer nonzeros is filled up with zeros
//           at its lowest free places, which may lie beyond K.
//   bitmap  bit i of word j of a row is k = 64·j + i; the row's values stand in order of k from
//           offset[n] on. Bits beyond K are 0.
//   skip_x  W is dense; the zeros of x are what is skipped.
//   lowrank W = A·B; y = (x·Bᵀ)·Aᵀ, the inner product kept in fp32 or better.
//
// The reference skips pruned positions, so that a NaN or infinity opposite one does not show.
// Zeros inside a stored bsr block, the filling of 2to4 and sell, and the gaps of a bitmap count as
// pruned: a variant that multiplies them says so with Arithmetic::multiplies_pruned. Under skip_x
// the zeros of x are the pruned positions. lowrank prunes nothing.
#pragma once

#include <cstdint>
#include <string_view>

#include "harness/op.h"
#include "harness/problem.h"
#include "harness/tensor.h"
#include "reference/activation.h"

namespace pareto {

/// Slots of sparse's operands, as given to a kernel.
enum SparseSlot : int {
  kSparseX,
  kSparseValues,
  kSparseIndex,
  kSparseOffset,
  kSparseMeta,
  kSparseRow,
  kSparseRowLength,
  kSparseW,
  kSparseA,
  kSparseB,
  kSparseBias,
  kSparseSlotCount,
};

/// The one output.
enum SparseOutput : int { kSparseY };

enum class SparseFormat : std::uint8_t {
  kCsr,
  kSell,
  kBsr,  ///< bsr16 … bsr128: see SparseProblem::block
  k2to4,
  kBitmap,
  kSkipX,
  kLowRank,
};

inline constexpr std::int64_t kSellRows = 16;     ///< C: rows of a slice
inline constexpr std::int64_t kSellWindow = 256;  ///< σ: rows sorted among one another
inline constexpr std::int64_t kBitmapBits = 64;   ///< columns of one word

/// A problem of op sparse with its keys looked up once: for set-up code of kernels.
struct SparseProblem {
  std::int64_t M = 0;
  std::int64_t N = 0;
  std::int64_t K = 0;
  SparseFormat format = SparseFormat::kCsr;
  std::int64_t block = 0;         ///< bsr: 16, 32, 64 or 128
  std::int64_t rank = 0;          ///< lowrank
  DType dtype = DType::kF32;      ///< of x and of the weights: kF32 kBf16 kF16
  DType out_dtype = DType::kF32;  ///< kF32 kBf16 kF16
  Activation activation = Activation::kNone;
  bool has_bias = false;

  static SparseProblem from(const Problem& problem);

  [[nodiscard]] std::int64_t block_rows() const { return (N + block - 1) / block; }
  [[nodiscard]] std::int64_t block_columns() const { return (K + block - 1) / block; }
  [[nodiscard]] std::int64_t groups_of_4() const { return (K + 3) / 4; }
  /// Bytes of a row of meta under 2to4.
  [[nodiscard]] std::int64_t meta_row_bytes() const { return (groups_of_4() + 1) / 2; }
  [[nodiscard]] std::int64_t words() const { return (K + kBitmapBits - 1) / kBitmapBits; }
  [[nodiscard]] std::int64_t slices() const { return (N + kSellRows - 1) / kSellRows; }
};

/// The two places of a 2to4 nibble inside its group.
struct TwoToFour {
  int first = 0;
  int second = 1;
};
inline TwoToFour two_to_four(std::uint8_t meta_byte, std::int64_t group) {
  const unsigned nibble = group % 2 == 0 ? meta_byte & 15U : meta_byte >> 4U;
  return {static_cast<int>(nibble & 3U), static_cast<int>(nibble >> 2U)};
}

}  // namespace pareto
