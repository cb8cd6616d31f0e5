// An attention problem in layout dense with 16-bit operands, and its outputs in fp64 by the
// definition: for kernels that the emulator runs thread by thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pareto::emulator {

struct AttentionSizes {
  std::int64_t batch = 1;
  std::int64_t heads_q = 1;
  std::int64_t heads_kv = 1;
  std::int64_t seq_q = 1;
  std::int64_t seq_kv = 1;
  int dim = 64;  ///< of q, k, v and o
  bool causal = false;
  bool bf16 = true;
  bool top_left = false;  ///< of causal: query i stands at key i

  [[nodiscard]] std::int64_t rows() const { return batch * heads_q * seq_q; }
  [[nodiscard]] std::int64_t slices() const { return batch * heads_kv; }
  [[nodiscard]] std::int64_t offset() const { return top_left ? 0 : seq_kv - seq_q; }
  /// Keys that query i sees.
  [[nodiscard]] std::int64_t visible_end(std::int64_t i) const;
  [[nodiscard]] std::string text() const;
};

struct AttentionCase {
  AttentionSizes s;
  float scale = 0.25F;
  std::vector<std::uint16_t> q;  ///< [batch, heads_q, seq_q, dim]
  std::vector<std::uint16_t> k;  ///< [batch, heads_kv, seq_kv, dim]
  std::vector<std::uint16_t> v;

  /// Eighths in [−1, 1]; keys that no row sees are NaN.
  explicit AttentionCase(const AttentionSizes& sizes);
  [[nodiscard]] std::uint16_t encoded(double value) const;
  [[nodiscard]] double decoded(std::uint16_t code) const;

  struct Row {
    std::vector<double> o;
    std::vector<double> weighted;  ///< Σ p |v|
    double lse = 0;
  };
  [[nodiscard]] Row reference(std::int64_t row) const;
  /// Compares all rows; P and o are rounded to 16 bits, all else is fp32.
  void expect_close(const std::vector<std::uint16_t>& o, const std::vector<float>& lse) const;
};

}  // namespace pareto::emulator
