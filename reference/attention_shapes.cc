#include "reference/attention_shapes.h"

#include <algorithm>
#include <numeric>

#include "reference/distributions.h"

namespace pareto {
namespace {

constexpr std::int64_t kUnusedPages = 2;

// The first sequence is the longest; then come the edges (no query or no key, one of each); the
// others are uniform.
std::vector<std::int64_t> draw_lengths(std::int64_t batch, std::int64_t longest, std::uint64_t key,
                                       std::int64_t empty_at) {
  std::vector<std::int64_t> lengths(batch, longest);
  for (std::int64_t b = 1; b < batch; ++b) {
    lengths[b] = static_cast<std::int64_t>(
        random_below(key, static_cast<std::uint64_t>(b), static_cast<std::uint64_t>(longest) + 1));
    if (b == empty_at) lengths[b] = 0;
    if (b == 2) lengths[b] = std::min<std::int64_t>(1, longest);
  }
  return lengths;
}

std::vector<std::int32_t> running_sums(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int32_t> sums = {0};
  for (const std::int64_t length : lengths) {
    sums.push_back(sums.back() + static_cast<std::int32_t>(length));
  }
  return sums;
}

}  // namespace

AttentionShapes::AttentionShapes(const AttentionProblem& p, std::uint64_t seed,
                                 std::int64_t padding)
    : seq_q(p.batch, p.seq_q), seq_kv(p.batch, p.seq_kv) {
  constexpr std::int64_t kNoKeys = 1;
  constexpr std::int64_t kNoQueries = 3;
  const Draw lengths{.distribution = "", .seed = seed};
  if (p.ragged_q()) {
    seq_q = draw_lengths(p.batch, p.seq_q, stream_key(lengths, "seq_q"), kNoQueries);
    cu_seqlens_q = running_sums(seq_q);
    total_q = cu_seqlens_q.back() + padding;
  }
  if (p.ragged_kv() || p.paged()) {
    seq_kv = draw_lengths(p.batch, p.seq_kv, stream_key(lengths, "seq_kv"), kNoKeys);
  }
  if (p.ragged_kv()) {
    cu_seqlens_kv = running_sums(seq_kv);
    total_kv = cu_seqlens_kv.back() + padding;
  }
  if (!p.paged()) return;
  seqlens_kv.assign(seq_kv.begin(), seq_kv.end());
  max_pages = (p.seq_kv + p.page_size - 1) / p.page_size;
  const auto pages_of = [&](std::int64_t length) {
    return (length + p.page_size - 1) / p.page_size;
  };
  pages = kUnusedPages;
  for (const std::int64_t length : seq_kv) pages += pages_of(length);
  std::vector<std::int32_t> order(pages);
  std::iota(order.begin(), order.end(), 0);
  const std::uint64_t key = stream_key(lengths, "block_table");
  for (std::int64_t i = pages - 1; i > 0; --i) {
    std::swap(
        order[i],
        order[random_below(key, static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(i) + 1)]);
  }
  block_table.assign(p.batch * max_pages, -1);
  std::int64_t next = 0;
  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t page = 0; page < pages_of(seq_kv[b]); ++page) {
      block_table[b * max_pages + page] = order[next++];
    }
  }
}

AttentionTables AttentionShapes::tables() const {
  return {.cu_seqlens_q = cu_seqlens_q.data(),
          .cu_seqlens_kv = cu_seqlens_kv.data(),
          .block_table = block_table.data(),
          .seqlens_kv = seqlens_kv.data(),
          .max_pages = max_pages};
}

}  // namespace pareto
