// Where the infinity or NaN of a value may reach outputs that give its key no weight.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "reference/attention_op.h"
#include "reference/attention_rows.h"

namespace pareto {

/// Per sequence and KV head: columns of v that hold a non-finite value at a key that some row sees.
class LeakyColumns {
 public:
  explicit LeakyColumns(const AttentionOperands& operands);
  [[nodiscard]] bool leaks(const AttentionQuery& query, std::int64_t column) const;

 private:
  void mark(const AttentionSequence& s, std::int64_t head, const Tensor& v,
            std::span<const std::uint8_t> seen);

  const AttentionProblem& p_;
  std::vector<std::uint8_t> leaky_;
};

}  // namespace pareto
