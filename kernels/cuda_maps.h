// Where threads of CUDA kernels find their work: plain constexpr arithmetic, so that the host tests
// check it on machines without a GPU.
#pragma once

#include <cstdint>

namespace pareto {

/// ⌈a / b⌉ for a ≥ 0, b > 0.
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Row and column of element `index` of a row-major matrix.
struct MatrixPlace {
  std::int64_t row = 0;
  std::int64_t column = 0;
};
constexpr MatrixPlace matrix_place(std::int64_t index, std::int64_t columns) {
  return {index / columns, index % columns};
}

/// Code of element k in the byte that holds it: even elements low, odd ones high.
constexpr int nibble_of(std::uint8_t byte, std::int64_t k) {
  return k % 2 == 0 ? byte & 15 : byte >> 4;
}
/// Index of that byte in a row of `columns` nibbles per row.
constexpr std::int64_t nibble_byte(std::int64_t row, std::int64_t k, std::int64_t columns) {
  return row * ceil_div(columns, 2) + k / 2;
}

/// Keys [lo, hi) of one query; empty if lo == hi.
struct KeySpan {
  std::int64_t lo = 0;
  std::int64_t hi = 0;
};
/// Keys that a causal mask leaves to a query standing at key position `position`.
constexpr KeySpan causal_keys(std::int64_t position, std::int64_t seq_kv) {
  const std::int64_t end = position + 1 < seq_kv ? position + 1 : seq_kv;
  return {0, end > 0 ? end : 0};
}

/// One row of q, o and lse in layout dense, and the KV head that it attends to.
struct DenseQuery {
  std::int64_t batch = 0;
  std::int64_t head_q = 0;
  std::int64_t i = 0;         ///< query of the sequence
  std::int64_t kv_slice = 0;  ///< batch · heads_kv + KV head
};
constexpr DenseQuery dense_query(std::int64_t row, std::int64_t seq_q, std::int64_t heads_q,
                                 std::int64_t heads_kv) {
  const std::int64_t slice = row / seq_q;
  const std::int64_t batch = slice / heads_q;
  const std::int64_t head_q = slice % heads_q;
  return {batch, head_q, row % seq_q, batch * heads_kv + head_q / (heads_q / heads_kv)};
}

}  // namespace pareto
