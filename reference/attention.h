// Attention, O = softmax(scale·Q·Kᵀ + …)·V with LSE: the operands that every kernel is given, a
// problem with its keys looked up once, and the index arithmetic that all kernels share.
//
// Slots (row-major, contiguous; absent ones have rank 0; the arithmetic behind codes and scales is
// eval.md's; value = code · scale of the stored fp32 scale, exactly). b batch, h heads_q, g
// heads_kv, d head_dim, dv head_dim_v, s seq_q, n seq_kv, t total tokens, m pages, ps page_size:
//
//   slot     dtype     dense         ragged      paged (q dense or ragged)
//   q        q_dtype   [b, h, s, d]  [t, h, d]   [b, h, s, d] or [t, h, d]
//   k        kv_dtype  [b, g, n, d]  [t, g, d]   [m, ps, g, d]
//   v        kv_dtype  as k, with dv in place of d
//   q_scale  fp32      [b, h]        [b, h]      [b, h]            if q is fp8
//   k_scale  fp32      [b, g]        [b, g]      [g]               if k and v are fp8
//   k_scale  fp32      [b, g, n]     [t, g]      [m, ps, g]        if k and v are int8
//   v_scale  fp32      as k_scale
//
//   bias           fp32  [B, H, S, N], each extent 1 (broadcast) or as large as needed
//   allowed        u8    likewise; 0 masks, any other byte allows
//   alibi_slopes   fp32  [h]
//   sinks          fp32  [h]
//   cu_seqlens_q   s32   [b+1], with ragged q: starts at 0, ascending, may end below t
//   cu_seqlens_kv  s32   [b+1], layout ragged: likewise
//   block_table    s32   [b, max_pages], paged: entries past the last page are not valid
//   seqlens_kv     s32   [b], paged
//
// Without v (MLA) the slots v and v_scale are absent: v is the first dv columns of k, with k's
// codes and scales.
//
// Outputs: o, out_dtype, [b, h, s, dv] or [t, h, dv]; lse, fp32, the same without the last extent.
// Every element must be written: rows of q beyond cu_seqlens_q[b] get o = 0, lse = −∞ (see
// uncovered_q_rows).
//
// In layouts ragged and paged, seq_q and seq_kv are the longest of the batch: workspace may be
// sized by them. In decode (seq_q ≤ 16) the slots k, v, k_scale, v_scale, cu_seqlens_kv,
// block_table and seqlens_kv outlive a call; `prepare` sees only these.
//
// What operands may hold: keys that no row sees, tokens behind a sequence's end and unused pages
// hold anything, NaN and infinities too, and must not show. Codes of fp8 and int8 are 0 there.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "harness/op.h"
#include "harness/problem.h"
#include "harness/tensor.h"

namespace pareto {

/// Slots of attention's operands, as given to a kernel.
enum AttentionSlot : int {
  kAttentionQ,
  kAttentionK,
  kAttentionV,
  kAttentionQScale,
  kAttentionKScale,
  kAttentionVScale,
  kAttentionBias,
  kAttentionAllowed,
  kAttentionAlibiSlopes,
  kAttentionSinks,
  kAttentionCuSeqlensQ,
  kAttentionCuSeqlensKv,
  kAttentionBlockTable,
  kAttentionSeqlensKv,
  kAttentionSlotCount,
};

enum AttentionOutput : int { kAttentionO, kAttentionLse, kAttentionOutputCount };

enum class AttentionMask : std::uint8_t { kNone, kCausal, kCausalTopLeft };

/// Dense: every sequence has seq_q and seq_kv. kPagedRagged: paged K and V, ragged q.
enum class AttentionLayout : std::uint8_t { kDense, kRagged, kPaged, kPagedRagged };

/// Decode: up to this many rows of q per sequence the KV cache outlives a call.
inline constexpr std::int64_t kAttentionDecodeRows = 16;

/// Keys [lo, hi) that masks and windows leave to one query; empty if lo == hi.
struct KeyRange {
  std::int64_t lo = 0;
  std::int64_t hi = 0;
  [[nodiscard]] std::int64_t size() const { return hi - lo; }
};

/// A problem of op attention with its keys looked up once: for set-up code of kernels.
struct AttentionProblem {
  std::int64_t batch = 0;
  std::int64_t heads_q = 0;
  std::int64_t heads_kv = 0;
  std::int64_t seq_q = 0;   ///< of the longest sequence
  std::int64_t seq_kv = 0;  ///< of the longest sequence
  std::int64_t head_dim = 0;
  std::int64_t head_dim_v = 0;
  DType q_dtype = DType::kF32;    ///< kF32 kBf16 kF16 kE4m3
  DType kv_dtype = DType::kF32;   ///< of slots k and v: the same or kS8
  DType out_dtype = DType::kF32;  ///< kF32 kBf16 kF16
  AttentionMask mask = AttentionMask::kNone;
  std::int64_t window_left = -1;   ///< −1: no limit
  std::int64_t window_right = -1;  ///< −1: no limit
  double softcap = 0;              ///< 0: none
  double scale = 1;                ///< resolved: head_dim^−½ for "auto"
  AttentionLayout layout = AttentionLayout::kDense;
  std::int64_t page_size = 0;
  bool has_v = true;
  bool has_bias = false;
  bool has_allowed = false;
  bool has_alibi = false;
  bool has_sinks = false;

  static AttentionProblem from(const Problem& problem);

  [[nodiscard]] bool decode() const { return seq_q <= kAttentionDecodeRows; }
  [[nodiscard]] bool ragged_q() const {
    return layout == AttentionLayout::kRagged || layout == AttentionLayout::kPagedRagged;
  }
  [[nodiscard]] bool ragged_kv() const { return layout == AttentionLayout::kRagged; }
  [[nodiscard]] bool paged() const {
    return layout == AttentionLayout::kPaged || layout == AttentionLayout::kPagedRagged;
  }
  /// Query heads that share one KV head (1 if there are none).
  [[nodiscard]] std::int64_t group() const { return heads_kv > 0 ? heads_q / heads_kv : 1; }
  [[nodiscard]] std::int64_t kv_head(std::int64_t head_q) const { return head_q / group(); }
  /// True if a key's logit depends on q, k and the scale alone.
  [[nodiscard]] bool plain_logits() const {
    return softcap == 0 && !has_bias && !has_allowed && !has_alibi;
  }
  /// True if a row's visible keys depend on the row.
  [[nodiscard]] bool masked() const {
    return mask != AttentionMask::kNone || window_left >= 0 || window_right >= 0;
  }

  /// off: query i of a sequence stands at key position i + off.
  [[nodiscard]] std::int64_t offset(std::int64_t seq_q_of_b, std::int64_t seq_kv_of_b) const {
    return mask == AttentionMask::kCausalTopLeft ? 0 : seq_kv_of_b - seq_q_of_b;
  }
  /// Keys that mask and windows (not `allowed`) leave to query i of a sequence of these lengths.
  [[nodiscard]] KeyRange visible(std::int64_t i, std::int64_t seq_q_of_b,
                                 std::int64_t seq_kv_of_b) const {
    const std::int64_t position = i + offset(seq_q_of_b, seq_kv_of_b);
    KeyRange range{0, seq_kv_of_b};
    if (mask != AttentionMask::kNone) range.hi = std::min(range.hi, position + 1);
    if (window_right >= 0) range.hi = std::min(range.hi, position + window_right + 1);
    if (window_left >= 0) range.lo = std::max(range.lo, position - window_left);
    range.hi = std::max<std::int64_t>(range.hi, 0);
    range.lo = std::min(range.lo, range.hi);
    return range;
  }
};

/// The integer tables of layouts ragged and paged; null where the layout has none. A variant that
/// does not keep its operands must copy the persistent ones in `prepare`.
struct AttentionTables {
  const std::int32_t* cu_seqlens_q = nullptr;
  const std::int32_t* cu_seqlens_kv = nullptr;
  const std::int32_t* block_table = nullptr;
  const std::int32_t* seqlens_kv = nullptr;
  std::int64_t max_pages = 0;  ///< row length of block_table

  static AttentionTables from(std::span<const Tensor> in) {
    AttentionTables tables;
    tables.cu_seqlens_q = in[kAttentionCuSeqlensQ].as<const std::int32_t>();
    tables.cu_seqlens_kv = in[kAttentionCuSeqlensKv].as<const std::int32_t>();
    tables.block_table = in[kAttentionBlockTable].as<const std::int32_t>();
    tables.seqlens_kv = in[kAttentionSeqlensKv].as<const std::int32_t>();
    if (in[kAttentionBlockTable].present()) tables.max_pages = in[kAttentionBlockTable].shape[1];
    return tables;
  }
};

/// One sequence of the batch: its lengths and where its rows lie. A *row* is one head's vector of
/// one token; element offset = row · width, with width d for q and k, d_v for v and o, 1 for lse
/// and for int8's per-token scales.
struct AttentionSequence {
  std::int64_t b = 0;
  std::int64_t seq_q = 0;
  std::int64_t seq_kv = 0;
  std::int64_t offset = 0;  ///< query i stands at key position i + offset
  // Row of query (h, i) = q_base + h·q_head + i·q_token; same for o and lse.
  std::int64_t q_base = 0;
  std::int64_t q_head = 0;
  std::int64_t q_token = 0;
  // Row of key (hkv, j), not paged = kv_base + hkv·kv_head + j·kv_token.
  std::int64_t kv_base = 0;
  std::int64_t kv_head = 0;
  std::int64_t kv_token = 0;
  const std::int32_t* pages = nullptr;  ///< paged: this sequence's row of the block table
  std::int64_t page_size = 1;

  static AttentionSequence of(const AttentionProblem& p, const AttentionTables& t, std::int64_t b) {
    AttentionSequence s{.b = b, .seq_q = p.seq_q, .seq_kv = p.seq_kv};
    if (p.ragged_q()) {
      s.seq_q = t.cu_seqlens_q[b + 1] - t.cu_seqlens_q[b];
      s.q_base = t.cu_seqlens_q[b] * p.heads_q;
      s.q_head = 1;
      s.q_token = p.heads_q;
    } else {
      s.q_base = b * p.heads_q * p.seq_q;
      s.q_head = p.seq_q;
      s.q_token = 1;
    }
    if (p.paged()) {
      s.seq_kv = t.seqlens_kv[b];
      s.pages = t.block_table + b * t.max_pages;
      s.page_size = p.page_size;
      s.kv_head = 1;
      s.kv_token = p.heads_kv;
    } else if (p.ragged_kv()) {
      s.seq_kv = t.cu_seqlens_kv[b + 1] - t.cu_seqlens_kv[b];
      s.kv_base = t.cu_seqlens_kv[b] * p.heads_kv;
      s.kv_head = 1;
      s.kv_token = p.heads_kv;
    } else {
      s.kv_base = b * p.heads_kv * p.seq_kv;
      s.kv_head = p.seq_kv;
      s.kv_token = 1;
    }
    s.offset = p.offset(s.seq_q, s.seq_kv);
    return s;
  }

  [[nodiscard]] std::int64_t q_row(std::int64_t head_q, std::int64_t i) const {
    return q_base + head_q * q_head + i * q_token;
  }
  /// Row of key j in k and v, and index of its int8 scales.
  [[nodiscard]] std::int64_t kv_row(std::int64_t head_kv, std::int64_t j) const {
    if (pages != nullptr) j = pages[j / page_size] * page_size + j % page_size;
    return kv_base + head_kv * kv_head + j * kv_token;
  }
};

/// Index into q_scale.
inline std::int64_t q_scale_index(const AttentionProblem& p, std::int64_t b, std::int64_t head_q) {
  return b * p.heads_q + head_q;
}
/// Index into k_scale and v_scale of fp8 (int8's is kv_row).
inline std::int64_t kv_scale_index(const AttentionProblem& p, std::int64_t b,
                                   std::int64_t head_kv) {
  return p.paged() ? head_kv : b * p.heads_kv + head_kv;
}

/// Rows [first, last) of o and lse that belong to no sequence: o = 0 and lse = −∞ go there.
inline KeyRange uncovered_q_rows(const AttentionProblem& p, const AttentionTables& tables,
                                 const Tensor& lse) {
  if (!p.ragged_q()) return {};
  return {tables.cu_seqlens_q[p.batch] * p.heads_q, lse.elements()};
}

/// A broadcast operand (bias: float, allowed: uint8_t) of rank 4: strides are 0 along extents of 1.
template <typename T>
struct AttentionBroadcast {
  const T* data = nullptr;  ///< null if absent
  std::int64_t stride_b = 0;
  std::int64_t stride_h = 0;
  std::int64_t stride_i = 0;
  std::int64_t stride_j = 0;

  static AttentionBroadcast of(const Tensor& tensor) {
    AttentionBroadcast view;
    if (!tensor.present()) return view;
    view.data = tensor.as<const T>();
    std::int64_t stride = 1;
    std::int64_t* const strides[] = {&view.stride_b, &view.stride_h, &view.stride_i,
                                     &view.stride_j};
    for (int axis = 3; axis >= 0; --axis) {
      *strides[axis] = tensor.shape[axis] == 1 ? 0 : stride;
      stride *= tensor.shape[axis];
    }
    return view;
  }
  /// Element j of the row is row(b, h, i)[j · stride_j].
  [[nodiscard]] const T* row(std::int64_t b, std::int64_t head_q, std::int64_t i) const {
    return data + b * stride_b + head_q * stride_h + i * stride_i;
  }
};

/// The term that ALiBi subtracts is slope · this distance.
inline std::int64_t alibi_distance(const AttentionSequence& s, std::int64_t i, std::int64_t j) {
  return std::abs(i + s.offset - j);
}

/// Where P·v_scale is rounded to integers (Arithmetic::u_p_page), keys 32n … 32n + 31 of a sequence
/// share a step, a power of two of which the largest that a row has there is 128 … 255 (bytes) or
/// 2^14 … 2^15 − 1 (words).
inline constexpr std::int64_t kPageKeys = 32;
enum PageCodes : int { kPageBytes, kPageWords };
inline constexpr int kPageCodes = 2;  ///< of them
/// Half a step, in units of the largest P·v_scale of the page.
inline constexpr std::array<double, kPageCodes> kPageRoundings = {0x1p-8, 0x1p-15};

}  // namespace pareto
