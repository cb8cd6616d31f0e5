// The KV cache of decode as a stream: pages of K and V side by side, in the order in which the
// kernels read them.
//
// A thread reads its share of the cache from its first byte to its last, K and V of the same keys
// side by side: one stream, which hardware prefetchers follow whatever is computed meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/aligned_buffer.h"
#include "harness/thread_pool.h"
#include "kernels/attention/kv_rows.h"
#include "reference/attention.h"

namespace pareto {

/// Bytes of an element.
template <DType kType>
inline constexpr std::int64_t kBytesOf = kType == DType::kF32                            ? 4
                                         : kType == DType::kBf16 || kType == DType::kF16 ? 2
                                                                                         : 1;

/// How codes lie where two registers of them are widened at a time.
enum class CodeOrder : std::uint8_t {
  kPlain,
  kHalves,      ///< of 64 bytes, bytes 16i … 16i + 7 are codes 8i …, the next eight 32 + 8i …
  kLaneHalves,  ///< of words: lane_halves.h
};

/// Where a page holds its code number `at`.
std::int64_t place_of(std::int64_t at, CodeOrder order);

/// One page: K in groups of keys, each [steps][its keys][pair], V in panels of columns, each
/// [keys / pair][its columns][pair], then, for int8, the scales of its keys and values, fp32 [keys]
/// each. Zeros stand beyond head_dim, head_dim_v and the last key.
struct PageLayout {
  std::int64_t keys = 0;
  std::int64_t group = 0;    ///< keys of a group of K: all of them, or a part
  std::int64_t pair = 1;     ///< products per dword of the arithmetic
  std::int64_t steps = 0;    ///< dwords per key
  std::int64_t columns = 0;  ///< head_dim_v rounded up to whole registers
  std::int64_t panel = 0;    ///< columns per panel of V, but for the last
  std::int64_t element_bytes = 0;
  bool scales = false;
  CodeOrder order = CodeOrder::kPlain;
  std::uint8_t k_flip = 0;  ///< one-byte codes of K are stored with these bits inverted

  /// In the type that K and V have; `columns` are rounded up to `column_grain`.
  static PageLayout of(const AttentionProblem& p, std::int64_t keys, std::int64_t pair,
                       std::int64_t panel, std::int64_t column_grain);

  [[nodiscard]] std::int64_t k_elements() const { return steps * keys * pair; }
  [[nodiscard]] std::int64_t v_elements() const { return keys * columns; }
  /// Columns of the panel that begins at column c.
  [[nodiscard]] std::int64_t panel_at(std::int64_t c) const {
    return columns - c < panel ? columns - c : panel;
  }
  /// Where K's element of key `j` of the page, number i of head_dim, is.
  [[nodiscard]] std::int64_t k_at(std::int64_t j, std::int64_t i) const {
    return ((j / group * steps + i / pair) * group + j % group) * pair + i % pair;
  }
  /// Where V's element of key `j` of the page, column c, is.
  [[nodiscard]] std::int64_t v_at(std::int64_t j, std::int64_t c) const {
    const std::int64_t first = c / panel * panel;
    return first * keys + (j / pair * panel_at(first) + c - first) * pair + j % pair;
  }
  [[nodiscard]] std::int64_t v_offset() const { return k_elements() * element_bytes; }
  [[nodiscard]] std::int64_t scale_offset() const {
    return v_offset() + v_elements() * element_bytes;
  }
  /// Of a page: whole cache lines.
  [[nodiscard]] std::int64_t bytes() const {
    const std::int64_t all = scale_offset() + (scales ? 8 * keys : 0);
    return (all + 63) / 64 * 64;
  }
};

/// A row of q beside an int8 cache, in dwords: `parts` times its codes, the offsets of their sums,
/// then q in fp32.
struct Int8QueryLayout {
  std::int64_t steps = 0;  ///< dwords of codes
  std::int64_t pair = 1;   ///< products per dword
  std::int64_t parts = 1;
  [[nodiscard]] std::int64_t part() const { return (steps + 3) / 4 * 4; }
  [[nodiscard]] std::int64_t offsets() const { return parts * part(); }
  [[nodiscard]] std::int64_t floats() const { return offsets() + parts; }
  [[nodiscard]] std::int64_t stride() const { return floats() + part() * pair; }
};

class DecodePages {
 public:
  DecodePages(const AttentionProblem& p, const PageLayout& layout, std::span<const Tensor> in,
              ThreadPool& pool);

  [[nodiscard]] const PageLayout& layout() const { return layout_; }
  /// Index of (sequence, KV head) for the functions below.
  [[nodiscard]] std::int64_t head(std::int64_t b, std::int64_t head_kv) const {
    return b * heads_kv_ + head_kv;
  }
  [[nodiscard]] const std::byte* page(std::int64_t head, std::int64_t page) const {
    return data_.data() + (first_page(head) + page) * layout_.bytes();
  }
  /// Does v hold a non-finite value in that page?
  [[nodiscard]] bool non_finite(std::int64_t head, std::int64_t page) const {
    return non_finite_[first_page(head) + page] != 0;
  }
  [[nodiscard]] const KvHeadScales& head_scales(std::int64_t head) const {
    return head_scales_[head];
  }
  /// cu_seqlens_kv or seqlens_kv; null in layout dense.
  [[nodiscard]] const std::int32_t* lengths() const {
    return lengths_.empty() ? nullptr : lengths_.data();
  }
  [[nodiscard]] std::size_t bytes() const { return data_.bytes() + non_finite_.bytes(); }

 private:
  [[nodiscard]] std::int64_t first_page(std::int64_t head) const {
    return first_page_[head / heads_kv_] + head % heads_kv_ * pages_[head / heads_kv_];
  }
  void pack_page(const KvRows& k, const KvRows& v, std::int64_t head, std::int64_t page);
  void pack_scales(const KvTokenScales& scales, const KvRows& k, const KvRows& v, std::int64_t head,
                   std::int64_t page);

  PageLayout layout_;
  std::int64_t heads_kv_ = 0;
  std::vector<std::int64_t> pages_;       ///< [batch], per head
  std::vector<std::int64_t> first_page_;  ///< [batch]
  std::vector<std::int32_t> lengths_;
  AlignedBuffer<std::byte> data_;  ///< [batch][heads_kv][pages]
  AlignedBuffer<std::uint8_t> non_finite_;
  std::vector<KvHeadScales> head_scales_;
};

}  // namespace pareto
