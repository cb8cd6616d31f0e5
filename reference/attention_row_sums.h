// The sums over one row's keys from which the error bound of attention is made.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "reference/attention_op.h"
#include "reference/attention_rows.h"

namespace pareto {

/// Output columns summed side by side.
inline constexpr int kSumColumns = 8;
/// Beyond this an fp32 accumulator may overflow although the result does not.
inline constexpr double kFp32Overflow = 0x1p126;

using ColumnLanes = std::array<double, kSumColumns>;

struct ColumnSums {
  std::array<ColumnLanes, kTermCount> term{};
  std::array<bool, kSumColumns> non_finite{};
  std::array<bool, kSumColumns> open{};  ///< a non-finite v of weight 0 by a logit of −∞
};

struct RowSums {
  double x = 0;  ///< Σ p·x, likewise y, t and z
  double y = 0;
  double t = 0;
  double z = 0;
  double max_x = 0;
  double max_y = 0;
  double max_z = 0;
  double alike = 0;  ///< equal_pairs of p as fp32 has it
};

/// The most that each weight of a row can lose where P·v_scale is rounded to integers, for each of
/// kPageRoundings: half a step of its page, or all of it if that is less. Keys whose values are
/// zeros, of scale 1, size no step.
using PageLosses = std::vector<std::array<double, kPageCodes>>;
PageLosses lost_in_pages(const AttentionRow& row, const AttentionKv& kv, std::int64_t width);

/// How likely two products p·v are equal, in every column; `alike` is that of p.
void find_equal_products(const AttentionRow& row, const AttentionKv& kv, std::int64_t width,
                         std::span<const std::int64_t> columns, double alike, ColumnSums& sums);

/// First pass: the output, and the sums that do not need it. Up to kSumColumns `columns` of v's
/// `width`; `lost` as lost_in_pages tells, or empty.
void sum_values(const AttentionRow& row, const AttentionKv& kv, std::int64_t width,
                std::span<const std::int64_t> columns, const PageLosses& lost, ColumnSums& sums);

/// Second pass: the deviations |v − o|, weighted.
void sum_deviations(const AttentionRow& row, const AttentionKv& kv, std::int64_t width,
                    std::span<const std::int64_t> columns, ColumnSums& sums);

/// The sums that no column of v enters.
RowSums sums_of(const AttentionRow& row);

/// Flags of a softmax that fp32 cannot follow, or that eval.md leaves open, and of rows of infinite
/// logits.
int row_flags(const AttentionRow& row);

}  // namespace pareto
