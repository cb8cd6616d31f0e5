#include "reference/attention_row_sums.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "reference/equal_addends.h"

namespace pareto {
namespace {

// Keys lighter than this cannot matter, whatever rounding does to their logit.
constexpr double kNegligibleWeight = 0x1p-60;

/// y of key `at`: |s−m| + |m| + |alibi| + |bias|.
double logit_size(const AttentionRow& row, std::size_t at) {
  return std::abs(row.s[at] - row.m) + std::abs(row.m) + row.extra[at];
}

double sink_size(const AttentionRow& row) { return row.m - row.sink + std::abs(row.m); }

bool weighs(const AttentionRow& row, std::size_t at) {
  return row.s[at] != -std::numeric_limits<double>::infinity();
}

void gather(const AttentionKv& kv, std::int64_t key, std::int64_t width,
            std::span<const std::int64_t> columns, ColumnLanes& v) {
  const std::int64_t at = key - kv.first;
  for (std::size_t c = 0; c < columns.size(); ++c) {
    v[c] = kv.v[at * width + columns[c]] * kv.v_scale[at];
  }
}

// Σ e·w and Σ (e·w)²
void add_weighted(const ColumnLanes e, double w, ColumnLanes& __restrict first,
                  ColumnLanes& __restrict second) {
  for (int c = 0; c < kSumColumns; ++c) {
    first[c] += e[c] * w;
    second[c] += e[c] * w * (e[c] * w);
  }
}

// What rounding the weight p to integers may do, `size` being |v|.
void add_losses(ColumnSums& sums, const ColumnLanes& size,
                const std::array<double, kPageCodes>& lost, double p) {
  for (int codes = 0; codes < kPageCodes; ++codes) {
    ColumnLanes* const term = &sums.term[kTermPage + codes * kPageTerms];
    add_weighted(size, lost[codes], term[kPageLoss], term[kPageLoss2]);
    for (int c = 0; c < kSumColumns && lost[codes] == p; ++c) term[kPageGone][c] += size[c] * p;
  }
}

bool is_zero_row(const AttentionKv& kv, std::int64_t at, std::int64_t width) {
  const float* v = kv.v.data() + at * width;
  return std::all_of(v, v + width, [](float code) { return code == 0; });
}

// e = p|v − o| of one key.
void add_deviation(ColumnSums& sums, const ColumnLanes& e, double x, double y, double t, double z) {
  add_weighted(e, 1, sums.term[kTermD], sums.term[kTermF]);
  add_weighted(e, x, sums.term[kTermB], sums.term[kTermB2]);
  add_weighted(e, y, sums.term[kTermE], sums.term[kTermE2]);
  if (t != 0) add_weighted(e, t, sums.term[kTermG], sums.term[kTermG2]);
  if (z != 0) add_weighted(e, z, sums.term[kTermZ], sums.term[kTermZ2]);
}

}  // namespace

PageLosses lost_in_pages(const AttentionRow& row, const AttentionKv& kv, std::int64_t width) {
  PageLosses lost(row.key.size());
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
      const double scale = kv.v_scale[row.key[at] - kv.first];
      for (int codes = 0; codes < kPageCodes; ++codes) {
        lost[at][codes] = std::min(row.p[at], kPageRoundings[codes] * largest / scale);
      }
    }
  }
  return lost;
}

void sum_values(const AttentionRow& row, const AttentionKv& kv, std::int64_t width,
                std::span<const std::int64_t> columns, const PageLosses& lost, ColumnSums& sums) {
  ColumnLanes v{};
  ColumnLanes size{};
  ColumnLanes o{};
  for (std::size_t at = 0; at < row.key.size(); ++at) {
    gather(kv, row.key[at], width, columns, v);
    const double p = row.p[at];
    bool finite = true;
    for (int c = 0; c < kSumColumns; ++c) {
      finite = finite && std::isfinite(v[c]);
      size[c] = std::abs(v[c]);
      o[c] += p * v[c];
    }
    add_weighted(size, p, sums.term[kTermA], sums.term[kTermC2]);
    add_weighted(size, 1 / row.l, sums.term[kTermV], sums.term[kTermV2]);
    if (!lost.empty()) add_losses(sums, size, lost[at], p);
    if (finite) continue;
    for (int c = 0; c < kSumColumns; ++c) {
      if (!std::isfinite(v[c])) (weighs(row, at) ? sums.non_finite : sums.open)[c] = true;
    }
  }
  sums.term[kTermValue] = o;
}

void find_equal_products(const AttentionRow& row, const AttentionKv& kv, std::int64_t width,
                         std::span<const std::int64_t> columns, double alike, ColumnSums& sums) {
  std::array<std::vector<double>, kSumColumns> values;
  ColumnLanes v{};
  for (const std::int64_t key : row.key) {
    gather(kv, key, width, columns, v);
    for (int c = 0; c < kSumColumns; ++c) values[c].push_back(v[c]);
  }
  for (int c = 0; c < kSumColumns; ++c) {
    sums.term[kTermAlike][c] = alike * equal_pairs(std::move(values[c]));
  }
}

void sum_deviations(const AttentionRow& row, const AttentionKv& kv, std::int64_t width,
                    std::span<const std::int64_t> columns, ColumnSums& sums) {
  ColumnLanes v{};
  ColumnLanes e{};
  const ColumnLanes o = sums.term[kTermValue];
  for (std::size_t at = 0; at < row.key.size(); ++at) {
    if (!weighs(row, at)) continue;
    gather(kv, row.key[at], width, columns, v);
    for (int c = 0; c < kSumColumns; ++c) e[c] = row.p[at] * std::abs(v[c] - o[c]);
    add_deviation(sums, e, row.x[at], logit_size(row, at), row.t[at], row.z[at]);
  }
  if (row.sink_p == 0) return;
  for (int c = 0; c < kSumColumns; ++c) e[c] = row.sink_p * std::abs(o[c]);
  add_deviation(sums, e, 0, sink_size(row), 0, 0);
}

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
  std::vector<double> weights;
  weights.reserve(row.p.size());
  for (const double p : row.p) weights.push_back(static_cast<float>(p));
  sums.alike = equal_pairs(std::move(weights));
  return sums;
}

int row_flags(const AttentionRow& row) {
  if (row.nan) return 0;
  if (row.max_product > kFp32Overflow) return kFlagAnything;
  for (std::size_t at = 0; at < row.s.size(); ++at) {
    if (std::isfinite(row.s[at]) && std::abs(row.s[at]) > kFp32Overflow) return kFlagAnything;
  }
  const bool weighted = std::any_of(row.p.begin(), row.p.end(), [](double p) { return p != 0; });
  if (row.l == std::numeric_limits<double>::infinity() && weighted) return kFlagNonFinite;
  return row.nan_q ? kFlagAnything : 0;  // NaN in q, but no key to meet it
}

}  // namespace pareto
