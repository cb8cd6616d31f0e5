// Shapes of a drawn attention problem: uneven lengths, pages in random order.
#pragma once

#include <cstdint>
#include <vector>

#include "reference/attention.h"

namespace pareto {

/// Lengths of the batch's sequences and where their keys lie; tables empty where the layout has
/// none. Depends on the sizes, layout and seed alone.
struct AttentionShapes {
  std::vector<std::int64_t> seq_q;
  std::vector<std::int64_t> seq_kv;
  std::vector<std::int32_t> cu_seqlens_q;
  std::vector<std::int32_t> cu_seqlens_kv;
  std::vector<std::int32_t> seqlens_kv;
  std::vector<std::int32_t> block_table;  ///< [batch, max_pages], −1 beyond the last page
  std::int64_t max_pages = 0;
  std::int64_t pages = 0;    ///< in the pool, some of them unused
  std::int64_t total_q = 0;  ///< rows of ragged q with `padding`
  std::int64_t total_kv = 0;

  /// `padding`: tokens behind the last sequence of ragged tensors.
  AttentionShapes(const AttentionProblem& p, std::uint64_t seed, std::int64_t padding);
  [[nodiscard]] AttentionTables tables() const;
};

}  // namespace pareto
