#include "kernels/attention/decode_pages.h"

#include <algorithm>

#include "kernels/attention/finite_code.h"
#include "kernels/lane_halves.h"

namespace pareto {
namespace {

std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

/// Keys [first, last) of slot k into one page.
template <typename Code>
void pack_k(const KvRows& rows, const PageLayout& l, std::int64_t first, std::int64_t last,
            Code* out) {
  const auto flip = static_cast<Code>(l.k_flip);
  for (std::int64_t j = first; j < last; ++j) {
    const Code* from = reinterpret_cast<const Code*>(rows.data) + rows.element(j);
    for (std::int64_t c = 0; c < rows.count; ++c) {
      out[place_of(l.k_at(j - first, c), l.order)] = static_cast<Code>(from[c] ^ flip);
    }
  }
}

/// Likewise of slot v; true if a value is not finite.
template <typename Code>
bool pack_v(const KvRows& rows, const PageLayout& l, std::int64_t first, std::int64_t last,
            Code* out) {
  bool odd = false;
  for (std::int64_t j = first; j < last; ++j) {
    const Code* from = reinterpret_cast<const Code*>(rows.data) + rows.element(j);
    for (std::int64_t c = 0; c < rows.count; ++c) {
      out[place_of(l.v_at(j - first, c), l.order)] = from[c];
      odd = odd || !is_finite_code(from[c], rows.dtype);
    }
  }
  return odd;
}

/// Whether key j of an int8 slot is stored as zeros.
bool is_zero_row(const KvRows& rows, std::int64_t j) {
  const std::byte* row = rows.data + rows.element(j);
  return std::all_of(row, row + rows.count, [](std::byte code) { return code == std::byte{}; });
}

/// Calls body with a value of the unsigned type that holds an element's code.
template <typename Body>
void with_code_type(std::int64_t element_bytes, const Body& body) {
  if (element_bytes == 4) {
    body(std::uint32_t{});
  } else if (element_bytes == 2) {
    body(std::uint16_t{});
  } else {
    body(std::uint8_t{});
  }
}

}  // namespace

std::int64_t place_of(std::int64_t at, CodeOrder order) {
  if (order == CodeOrder::kPlain) return at;
  if (order == CodeOrder::kLaneHalves) return place_in_halves(at);
  const std::int64_t half = at / 32 % 2;
  return at / 64 * 64 + at % 32 / 8 * 16 + half * 8 + at % 8;
}

PageLayout PageLayout::of(const AttentionProblem& p, std::int64_t keys, std::int64_t pair,
                          std::int64_t panel, std::int64_t column_grain) {
  PageLayout layout;
  layout.keys = layout.group = keys;
  layout.pair = pair;
  layout.panel = panel;
  layout.steps = (p.head_dim + pair - 1) / pair;
  layout.columns = round_up(p.head_dim_v, column_grain);
  layout.element_bytes = static_cast<std::int64_t>(size_of(p.kv_dtype));
  layout.scales = p.kv_dtype == DType::kS8;
  return layout;
}

DecodePages::DecodePages(const AttentionProblem& p, const PageLayout& layout,
                         std::span<const Tensor> in, ThreadPool& pool)
    : layout_(layout), heads_kv_(p.heads_kv), lengths_(kv_lengths(in)) {
  const CacheOperands cache(p, in);
  std::vector<AttentionSequence> sequences;
  std::int64_t pages = 0;
  for (std::int64_t b = 0; b < p.batch; ++b) {
    sequences.push_back(cache.sequence(b));
    first_page_.push_back(pages);
    pages_.push_back((sequences[b].seq_kv + layout.keys - 1) / layout.keys);
    pages += pages_[b] * heads_kv_;
  }
  data_ = AlignedBuffer<std::byte>(pages * layout.bytes());
  non_finite_ = AlignedBuffer<std::uint8_t>(pages);
  for (std::int64_t head = 0; head < p.batch * heads_kv_; ++head) {
    head_scales_.push_back(KvHeadScales::of(p, in, head / heads_kv_, head % heads_kv_));
  }
  const KvTokenScales scales = KvTokenScales::of(p, in);
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(pages, thread, threads);
    std::int64_t head = 0;
    for (std::int64_t at = begin; at < end; ++at) {
      while (at >= first_page(head) + pages_[head / heads_kv_]) ++head;
      const AttentionSequence& s = sequences[head / heads_kv_];
      const KvRows k = KvRows::of_k(p, in, s, head % heads_kv_);
      const KvRows v = KvRows::of_v(p, in, s, head % heads_kv_);
      pack_page(k, v, head, at - first_page(head));
      if (layout_.scales) pack_scales(scales, k, v, head, at - first_page(head));
    }
  });
}

void DecodePages::pack_page(const KvRows& k, const KvRows& v, std::int64_t head,
                            std::int64_t page) {
  const std::int64_t at = first_page(head) + page;
  std::byte* out = data_.data() + at * layout_.bytes();
  const std::int64_t first = page * layout_.keys;
  const std::int64_t last = std::min(first + layout_.keys, k.sequence.seq_kv);
  with_code_type(layout_.element_bytes, [&](auto code) {
    using Code = decltype(code);
    pack_k(k, layout_, first, last, reinterpret_cast<Code*>(out));
    const bool odd =
        pack_v(v, layout_, first, last, reinterpret_cast<Code*>(out + layout_.v_offset()));
    non_finite_[at] = odd ? 1 : 0;
  });
}

void DecodePages::pack_scales(const KvTokenScales& scales, const KvRows& k, const KvRows& v,
                              std::int64_t head, std::int64_t page) {
  auto* out = reinterpret_cast<float*>(data_.data() + (first_page(head) + page) * layout_.bytes() +
                                       layout_.scale_offset());
  const std::int64_t first = page * layout_.keys;
  const std::int64_t last = std::min(first + layout_.keys, k.sequence.seq_kv);
  for (std::int64_t j = first; j < last; ++j) {
    const std::int64_t row = k.sequence.kv_row(k.head_kv, j);
    out[j - first] = scales.k[row];
    // The scale of zeros is 1 by convention. A step of P·scale sized for it would round the weights
    // of every smaller value of the page to 0.
    out[layout_.keys + j - first] = is_zero_row(v, j) ? 0 : scales.v[row];
  }
}

}  // namespace pareto
