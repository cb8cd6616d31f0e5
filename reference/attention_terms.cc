// The fp64 reference with the sums that the error bound needs.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "reference/attention_op.h"
#include "reference/attention_rows.h"

namespace pareto {
namespace {

constexpr int kColumns = 8;  // output columns summed side by side
// Keys lighter than this cannot matter, whatever rounding does to their logit.
constexpr double kNegligibleWeight = 0x1p-60;
// Beyond this an fp32 accumulator may overflow although the result does not.
constexpr double kOverflow = 0x1p126;

using Lanes = std::array<double, kColumns>;

/// Per sequence and KV head: columns of v that hold a non-finite value at a key that some row sees.
class LeakyColumns {
 public:
  explicit LeakyColumns(const AttentionOperands& operands) : p_(operands.problem()) {
    const Tensor& v = operands.slot(p_.has_v ? kAttentionV : kAttentionK);
    bool any = false;
    for (std::int64_t i = 0; i < v.elements() && !any; ++i) any = !std::isfinite(value_at(v, i));
    if (!any) return;
    const std::vector<std::uint8_t> seen = attention_seen_rows(
        p_, operands.tables(), operands.slot(kAttentionAllowed), operands.kv_rows());
    leaky_.resize(p_.batch * p_.heads_kv * p_.head_dim_v);
    for (std::int64_t b = 0; b < p_.batch; ++b) {
      for (std::int64_t head = 0; head < p_.heads_kv; ++head) {
        mark(operands.sequence(b), head, v, seen);
      }
    }
  }
  [[nodiscard]] bool leaks(const AttentionQuery& query, std::int64_t column) const {
    if (leaky_.empty()) return false;
    return leaky_[(query.b * p_.heads_kv + p_.kv_head(query.head)) * p_.head_dim_v + column] != 0;
  }

 private:
  void mark(const AttentionSequence& s, std::int64_t head, const Tensor& v,
            const std::vector<std::uint8_t>& seen) {
    const std::int64_t width = p_.has_v ? p_.head_dim_v : p_.head_dim;
    std::uint8_t* leaky = &leaky_[(s.b * p_.heads_kv + head) * p_.head_dim_v];
    for (std::int64_t j = 0; j < s.seq_kv; ++j) {
      const std::int64_t row = s.kv_row(head, j);
      if (seen[row] == 0) continue;
      for (std::int64_t c = 0; c < p_.head_dim_v; ++c) {
        if (!std::isfinite(value_at(v, row * width + c))) leaky[c] = 1;
      }
    }
  }

  const AttentionProblem& p_;
  std::vector<std::uint8_t> leaky_;
};

struct ColumnSums {
  std::array<Lanes, kTermCount> term{};
  std::array<bool, kColumns> non_finite{};
  std::array<bool, kColumns> open{};  ///< a non-finite v of weight 0 by a logit of −∞
};

/// y of key `at`: |s−m| + |m| + |alibi| + |bias|.
double logit_size(const AttentionRow& row, std::size_t at) {
  return std::abs(row.s[at] - row.m) + std::abs(row.m) + row.extra[at];
}

double sink_size(const AttentionRow& row) { return row.m - row.sink + std::abs(row.m); }

bool weighs(const AttentionRow& row, std::size_t at) {
  return row.s[at] != -std::numeric_limits<double>::infinity();
}

void gather(const AttentionKv& kv, std::int64_t key, std::int64_t width,
            std::span<const std::int64_t> columns, Lanes& v) {
  const std::int64_t at = key - kv.first;
  for (std::size_t c = 0; c < columns.size(); ++c) {
    v[c] = kv.v[at * width + columns[c]] * kv.v_scale[at];
  }
}

// Σ e·w and Σ (e·w)²
void add_weighted(const Lanes e, double w, Lanes& __restrict first, Lanes& __restrict second) {
  for (int c = 0; c < kColumns; ++c) {
    first[c] += e[c] * w;
    second[c] += e[c] * w * (e[c] * w);
  }
}

bool is_zero_row(const AttentionKv& kv, std::int64_t at, std::int64_t width) {
  const float* v = kv.v.data() + at * width;
  return std::all_of(v, v + width, [](float code) { return code == 0; });
}

/// The most that each weight of a row can lose where P·v_scale is rounded to bytes: half a step of
/// its page, or all of it if that is less. Keys whose values are zeros, of scale 1, size no step.
std::vector<double> lost_in_pages(const AttentionRow& row, const AttentionKv& kv,
                                  std::int64_t width) {
  std::vector<double> lost(row.key.size());
  for (std::size_t at = 0; at < lost.size();) {
    const std::int64_t page = row.key[at] / kPageKeys;
    double largest = 0;
    std::size_t end = at;
    for (; end < lost.size() && row.key[end] / kPageKeys == page; ++end) {
      const std::int64_t j = row.key[end] - kv.first;
      if (is_zero_row(kv, j, width)) continue;
      largest = std::max(largest, row.p[end] * kv.v_scale[j]);
    }
    for (; at < end; ++at) {
      lost[at] = std::min(row.p[at], kPageRounding * largest / kv.v_scale[row.key[at] - kv.first]);
    }
  }
  return lost;
}

// First pass: the output, and the sums that do not need it.
void sum_values(const AttentionRow& row, const AttentionKv& kv, std::int64_t width,
                std::span<const std::int64_t> columns, std::span<const double> lost,
                ColumnSums& sums) {
  Lanes v{};
  Lanes size{};
  Lanes o{};
  for (std::size_t at = 0; at < row.key.size(); ++at) {
    gather(kv, row.key[at], width, columns, v);
    const double p = row.p[at];
    bool finite = true;
    for (int c = 0; c < kColumns; ++c) {
      finite = finite && std::isfinite(v[c]);
      size[c] = std::abs(v[c]);
      o[c] += p * v[c];
    }
    add_weighted(size, p, sums.term[kTermA], sums.term[kTermC2]);
    add_weighted(size, 1 / row.l, sums.term[kTermV], sums.term[kTermV2]);
    if (!lost.empty()) {
      add_weighted(size, lost[at], sums.term[kTermPage], sums.term[kTermPage2]);
      for (int c = 0; c < kColumns && lost[at] == p; ++c)
        sums.term[kTermPageLost][c] += size[c] * p;
    }
    if (finite) continue;
    for (int c = 0; c < kColumns; ++c) {
      if (!std::isfinite(v[c])) (weighs(row, at) ? sums.non_finite : sums.open)[c] = true;
    }
  }
  sums.term[kTermValue] = o;
}

// e = p|v − o| of one key.
void add_deviation(ColumnSums& sums, const Lanes& e, double x, double y, double t, double z) {
  add_weighted(e, 1, sums.term[kTermD], sums.term[kTermF]);
  add_weighted(e, x, sums.term[kTermB], sums.term[kTermB2]);
  add_weighted(e, y, sums.term[kTermE], sums.term[kTermE2]);
  if (t != 0) add_weighted(e, t, sums.term[kTermG], sums.term[kTermG2]);
  if (z != 0) add_weighted(e, z, sums.term[kTermZ], sums.term[kTermZ2]);
}

// Second pass: the deviations |v − o|, weighted.
void sum_deviations(const AttentionRow& row, const AttentionKv& kv, std::int64_t width,
                    std::span<const std::int64_t> columns, ColumnSums& sums) {
  Lanes v{};
  Lanes e{};
  const Lanes o = sums.term[kTermValue];
  for (std::size_t at = 0; at < row.key.size(); ++at) {
    if (!weighs(row, at)) continue;
    gather(kv, row.key[at], width, columns, v);
    for (int c = 0; c < kColumns; ++c) e[c] = row.p[at] * std::abs(v[c] - o[c]);
    add_deviation(sums, e, row.x[at], logit_size(row, at), row.t[at], row.z[at]);
  }
  if (row.sink_p == 0) return;
  for (int c = 0; c < kColumns; ++c) e[c] = row.sink_p * std::abs(o[c]);
  add_deviation(sums, e, 0, sink_size(row), 0, 0);
}

struct RowSums {
  double x = 0;  ///< Σ p·x, likewise y, t and z
  double y = 0;
  double t = 0;
  double z = 0;
  double max_x = 0;
  double max_y = 0;
  double max_z = 0;
};

RowSums sums_of(const AttentionRow& row) {
  RowSums sums;
  for (std::size_t at = 0; at < row.key.size(); ++at) {
    if (row.p[at] == 0) continue;
    const double y = logit_size(row, at);
    sums.x += row.p[at] * row.x[at];
    sums.y += row.p[at] * y;
    sums.t += row.p[at] * row.t[at];
    sums.z += row.p[at] * row.z[at];
    if (row.p[at] < kNegligibleWeight) continue;
    sums.max_x = std::max(sums.max_x, row.x[at]);
    sums.max_y = std::max(sums.max_y, y);
    sums.max_z = std::max(sums.max_z, row.z[at]);
  }
  if (row.sink_p > 0) sums.y += row.sink_p * sink_size(row);
  return sums;
}

/// A softmax that fp32 cannot follow, or that eval.md leaves open, and rows of infinite logits.
int row_flags(const AttentionRow& row) {
  if (row.nan) return 0;
  if (row.max_product > kOverflow) return kFlagAnything;
  for (std::size_t at = 0; at < row.s.size(); ++at) {
    if (std::isfinite(row.s[at]) && std::abs(row.s[at]) > kOverflow) return kFlagAnything;
  }
  if (row.l == std::numeric_limits<double>::infinity()) return kFlagNonFinite;
  return row.nan_q ? kFlagAnything : 0;  // NaN in q, but no key to meet it
}

struct RowTask {
  std::int64_t o_begin = 0;  ///< indices into the positions of o
  std::int64_t o_end = 0;
  std::int64_t lse = -1;  ///< index into the positions of lse
};

struct Tasks {
  std::vector<AttentionQuery> query;
  std::vector<RowTask> task;
};

// Merges the ascending positions of both outputs into rows.
Tasks tasks_of(const AttentionOperands& operands, const Positions& positions) {
  const std::int64_t width = operands.problem().head_dim_v;
  const std::vector<std::int64_t>& o = positions[kAttentionO];
  const std::vector<std::int64_t>& lse = positions[kAttentionLse];
  Tasks tasks;
  std::size_t at = 0;
  std::size_t l = 0;
  while (at < o.size() || l < lse.size()) {
    const std::int64_t end = std::numeric_limits<std::int64_t>::max();
    const std::int64_t row =
        std::min(at < o.size() ? o[at] / width : end, l < lse.size() ? lse[l] : end);
    RowTask task{.o_begin = static_cast<std::int64_t>(at)};
    while (at < o.size() && o[at] / width == row) ++at;
    task.o_end = static_cast<std::int64_t>(at);
    if (l < lse.size() && lse[l] == row) task.lse = static_cast<std::int64_t>(l++);
    tasks.query.push_back(operands.locate(row));
    tasks.task.push_back(task);
  }
  return tasks;
}

Terms terms_for(int columns, std::size_t count) {
  Terms terms;
  terms.column.assign(columns, std::vector<double>(count, 0));
  return terms;
}

class Evaluation {
 public:
  Evaluation(const AttentionOperands& operands, const Positions& positions)
      : operands_(operands), positions_(positions), leaky_(operands) {
    terms_.push_back(terms_for(kTermCount, positions[kAttentionO].size()));
    terms_.push_back(terms_for(kLseTermCount, positions[kAttentionLse].size()));
  }

  ReferenceTerms run(int threads) {
    const Tasks tasks = tasks_of(operands_, positions_);
    operands_.for_queries(
        tasks.query, threads, {},
        [&](std::int64_t index, const AttentionQuery& query, const AttentionKv& kv,
            const AttentionRow& row) { visit(tasks.task[index], query, kv, row); });
    return std::move(terms_);
  }

 private:
  void visit(const RowTask& task, const AttentionQuery& query, const AttentionKv& kv,
             const AttentionRow& row) {
    const RowSums row_sums = sums_of(row);
    const int flags = row_flags(row);
    const auto keys = static_cast<double>(operands_.range(query, {}).size());
    if (task.lse >= 0) set_lse(task.lse, row, row_sums, keys, flags);
    const std::int64_t width = operands_.problem().head_dim_v;
    std::vector<double> lost;
    if (operands_.problem().kv_dtype == DType::kS8) lost = lost_in_pages(row, kv, width);
    for (std::int64_t at = task.o_begin; at < task.o_end; at += kColumns) {
      const std::int64_t count = std::min<std::int64_t>(kColumns, task.o_end - at);
      std::array<std::int64_t, kColumns> column{};
      for (std::int64_t c = 0; c < count; ++c) {
        column[c] = positions_[kAttentionO][at + c] % width;
      }
      const std::span<const std::int64_t> columns(column.data(), static_cast<std::size_t>(count));
      ColumnSums sums;
      if (row.m != -std::numeric_limits<double>::infinity()) {
        sum_values(row, kv, width, columns, lost, sums);
        sum_deviations(row, kv, width, columns, sums);
      }
      for (std::int64_t c = 0; c < count; ++c) {
        set_o(at + c, sums, static_cast<int>(c), query, column[c], row, flags);
        std::vector<std::vector<double>>& term = terms_[kAttentionO].column;
        term[kTermKeys][at + c] = keys;
        term[kTermMaxX][at + c] = row_sums.max_x;
        term[kTermMaxY][at + c] = row_sums.max_y;
        term[kTermMaxZ][at + c] = row_sums.max_z;
        term[kTermFirst][at + c] = at + c == task.o_begin ? 1 : 0;
      }
    }
  }

  void set_o(std::int64_t at, const ColumnSums& sums, int c, const AttentionQuery& query,
             std::int64_t column, const AttentionRow& row, int flags) {
    std::vector<std::vector<double>>& term = terms_[kAttentionO].column;
    for (int i = 0; i < kTermKeys; ++i) term[i][at] = sums.term[i][c];
    if (!row.nan) {
      if (sums.non_finite[c]) flags |= kFlagNonFinite;
      if (sums.open[c] || sums.term[kTermA][c] * row.l > kOverflow) flags |= kFlagAnything;
      if (query.covered && leaky_.leaks(query, column)) flags |= kFlagLeak;
    } else if (row.nan) {
      term[kTermValue][at] = std::numeric_limits<double>::quiet_NaN();
    }
    term[kTermFlags][at] = flags;
  }

  void set_lse(std::int64_t at, const AttentionRow& row, const RowSums& sums, double keys,
               int flags) {
    std::vector<std::vector<double>>& term = terms_[kAttentionLse].column;
    const bool finite = std::isfinite(row.lse);
    term[kLseValue][at] = row.lse;
    term[kLseX][at] = sums.x;
    term[kLseY][at] = sums.y;
    term[kLseT][at] = sums.t;
    term[kLseZ][at] = sums.z;
    term[kLseKeys][at] = keys;
    term[kLseMax][at] = finite ? std::abs(row.m) : 0;
    term[kLseLogSum][at] = finite ? std::log(row.l) : 0;
    term[kLseInverseSum][at] = finite ? 1 / row.l : 0;
    term[kLseMaxX][at] = sums.max_x;
    term[kLseMaxY][at] = sums.max_y;
    term[kLseMaxZ][at] = sums.max_z;
    term[kLseFlags][at] = flags;
  }

  const AttentionOperands& operands_;
  const Positions& positions_;
  LeakyColumns leaky_;
  ReferenceTerms terms_;
};

}  // namespace

ReferenceTerms attention_reference(const Problem& problem, const Operands& operands,
                                   const Positions& positions, int threads) {
  const AttentionOperands all(AttentionProblem::from(problem), operands);
  return Evaluation(all, positions).run(threads);
}

std::vector<std::vector<double>> attention_original(const Problem& problem, const TensorMap& inputs,
                                                    const Positions& positions, int threads) {
  Problem exact = problem;
  exact.set("dtype", "fp32").set("kv_dtype", "same");
  const Operands operands = attention_encode(exact, inputs);
  ReferenceTerms terms = attention_reference(exact, operands, positions, threads);
  std::vector<std::vector<double>> values;
  for (Terms& output : terms) values.push_back(std::move(output.column[kTermValue]));
  return values;
}

}  // namespace pareto
