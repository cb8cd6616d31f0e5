#include "tests/emulator/attention_case.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "harness/arithmetic.h"
#include "reference/number_formats.h"

namespace pareto::emulator {
namespace {

std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

double eighths(std::int64_t index, unsigned salt) {
  const unsigned drawn = (static_cast<unsigned>(index) * 2654435761U + salt * 40503U) >> 9U;
  return (static_cast<int>(drawn % 17) - 8) / 8.0;
}

}  // namespace

std::int64_t AttentionSizes::visible_end(std::int64_t i) const {
  if (!causal) return seq_kv;
  return std::clamp<std::int64_t>(i + offset() + 1, 0, seq_kv);
}

std::string AttentionSizes::text() const {
  return fmt::format("{} x {}/{} heads, {} queries, {} keys, {} wide{}{}{}", batch, heads_q,
                     heads_kv, seq_q, seq_kv, dim, causal ? ", causal" : "",
                     top_left ? " top left" : "", bf16 ? "" : ", fp16");
}

AttentionCase::AttentionCase(const AttentionSizes& sizes) : s(sizes) {
  for (std::int64_t i = 0; i < s.rows() * s.dim; ++i) q.push_back(encoded(eighths(i, 1)));
  const std::int64_t seen = s.seq_q == 0 ? 0 : s.visible_end(s.seq_q - 1);
  for (std::int64_t i = 0; i < s.slices() * s.seq_kv * s.dim; ++i) {
    const bool unseen = i / s.dim % s.seq_kv >= seen;
    k.push_back(encoded(unseen ? std::numeric_limits<double>::quiet_NaN() : eighths(i, 2)));
    v.push_back(encoded(unseen ? std::numeric_limits<double>::quiet_NaN() : eighths(i, 3)));
  }
}

std::uint16_t AttentionCase::encoded(double value) const {
  return s.bf16 ? to_bf16(value) : to_fp16(value);
}
double AttentionCase::decoded(std::uint16_t code) const {
  return s.bf16 ? from_bf16(code) : from_fp16(code);
}

AttentionCase::Row AttentionCase::reference(std::int64_t row) const {
  const std::int64_t head = row / s.seq_q;
  const std::int64_t slice =
      head / s.heads_q * s.heads_kv + head % s.heads_q / (s.heads_q / s.heads_kv);
  const std::int64_t keys = s.visible_end(row % s.seq_q);
  std::vector<double> logits;
  for (std::int64_t j = 0; j < keys; ++j) {
    double dot = 0;
    for (std::int64_t d = 0; d < s.dim; ++d) {
      dot += decoded(q[at(row * s.dim + d)]) * decoded(k[at((slice * s.seq_kv + j) * s.dim + d)]);
    }
    logits.push_back(scale * dot);
  }
  const double highest = logits.empty() ? 0 : *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - highest);
  Row out{std::vector<double>(at(s.dim)), std::vector<double>(at(s.dim)), highest + std::log(sum)};
  for (std::int64_t j = 0; j < keys; ++j) {
    const double p = std::exp(logits[at(j)] - highest) / sum;
    for (std::int64_t d = 0; d < s.dim; ++d) {
      const double value = decoded(v[at((slice * s.seq_kv + j) * s.dim + d)]);
      out.o[at(d)] += p * value;
      out.weighted[at(d)] += p * std::abs(value);
    }
  }
  return out;
}

void AttentionCase::expect_close(const std::vector<std::uint16_t>& o,
                                 const std::vector<float>& lse) const {
  const double unit = s.bf16 ? kUBf16 : kUFp16;
  for (std::int64_t row = 0; row < s.rows(); ++row) {
    const Row want = reference(row);
    for (std::int64_t d = 0; d < s.dim; ++d) {
      const double bound = unit * (want.weighted[at(d)] + std::abs(want.o[at(d)])) + 1e-5;
      ASSERT_NEAR(decoded(o[at(row * s.dim + d)]), want.o[at(d)], bound)
          << s.text() << ", row " << row << ", column " << d;
    }
    if (std::isinf(want.lse)) {
      ASSERT_EQ(lse[at(row)], want.lse) << s.text() << ", row " << row;
    } else {
      ASSERT_NEAR(lse[at(row)], want.lse, 1e-5) << s.text() << ", row " << row;
    }
  }
}

}  // namespace pareto::emulator
