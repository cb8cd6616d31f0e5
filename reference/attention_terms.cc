// The fp64 reference with the sums that the error bound needs.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "reference/attention_leaks.h"
#include "reference/attention_op.h"
#include "reference/attention_row_sums.h"
#include "reference/attention_rows.h"
#include "reference/equal_addends.h"

namespace pareto {
namespace {

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
    PageLosses lost;
    if (operands_.problem().kv_dtype == DType::kS8) lost = lost_in_pages(row, kv, width);
    for (std::int64_t at = task.o_begin; at < task.o_end; at += kSumColumns) {
      const std::int64_t count = std::min<std::int64_t>(kSumColumns, task.o_end - at);
      std::array<std::int64_t, kSumColumns> column{};
      for (std::int64_t c = 0; c < count; ++c) {
        column[c] = positions_[kAttentionO][at + c] % width;
      }
      const std::span<const std::int64_t> columns(column.data(), static_cast<std::size_t>(count));
      ColumnSums sums;
      if (row.m != -std::numeric_limits<double>::infinity()) {
        sum_values(row, kv, width, columns, lost, sums);
        if (equal_pairs_matter(row_sums.alike, row.p.size())) {
          find_equal_products(row, kv, width, columns, row_sums.alike, sums);
        }
        sum_deviations(row, kv, width, columns, sums);
      }
      for (std::int64_t c = 0; c < count; ++c) {
        set_o(at + c, sums, static_cast<int>(c), query, column[c], row, flags);
        std::vector<std::vector<double>>& term = terms_[kAttentionO].column;
        term[kTermKeys][at + c] = keys;
        term[kTermMaxX][at + c] = row_sums.max_x;
        term[kTermMaxY][at + c] = row_sums.max_y;
        term[kTermMaxZ][at + c] = row_sums.max_z;
        term[kTermAlikeWeights][at + c] = row_sums.alike;
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
      if (sums.open[c] || sums.term[kTermA][c] * row.l > kFp32Overflow) flags |= kFlagAnything;
      if (query.covered && leaky_.leaks(query, column)) flags |= kFlagLeak;
    } else {
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
