// Wrong results of sparse layers, made on purpose.
#include <algorithm>
#include <cmath>
#include <string>

#include "harness/errors.h"
#include "harness/poison.h"
#include "reference/number_formats.h"
#include "reference/sparse_formats.h"
#include "reference/sparse_parts.h"

namespace pareto {
namespace {

constexpr std::int64_t kTile = 16;

[[noreturn]] void nothing_to_break(std::string_view mutant) {
  throw InputError("this input has nothing that the mutant " + std::string(mutant) +
                   " could break");
}

class Mutation {
 public:
  Mutation(std::string_view mutant, const Problem& problem, const Operands& operands)
      : mutant_(mutant),
        p_(SparseProblem::from(problem)),
        in_(sparse_views(operands)),
        reader_(p_, in_),
        y_(p_.out_dtype, Shape{p_.M, p_.N}),
        low_rank_(p_.format == SparseFormat::kLowRank) {
    if (p_.M * p_.N * p_.K == 0 || (low_rank_ && p_.rank == 0)) nothing_to_break(mutant);
  }

  Outputs run() {
    if (mutant_ == "nonzero_dropped") choose_dropped();
    if (mutant_ == "index_shifted" && p_.K < 2) nothing_to_break(mutant_);
    if (mutant_ == "rows_swapped" && p_.N < 2) nothing_to_break(mutant_);
    poison(y_.view());
    for (std::int64_t n = 0; n < p_.N; ++n) compute_column(n);
    if (mutant_ == "tile_transposed") transpose_tile();
    Outputs outputs;
    outputs.push_back(std::move(y_));
    return outputs;
  }

 private:
  bool is(std::string_view name) const { return mutant_ == name; }

  // The largest weight of the last row that has one.
  void choose_dropped() {
    SparseRow row;
    for (dropped_n_ = p_.N - 1; dropped_n_ >= 0; --dropped_n_) {
      read(dropped_n_, row);
      if (!row.k.empty()) break;
    }
    if (dropped_n_ < 0) nothing_to_break(mutant_);
    const auto largest =
        std::max_element(row.value.begin(), row.value.end(),
                         [](double a, double b) { return std::abs(a) < std::abs(b); });
    dropped_k_ = row.k[static_cast<std::size_t>(largest - row.value.begin())];
  }

  // The row of weights that is multiplied last: of W, or of A.
  void read(std::int64_t n, SparseRow& row) const {
    if (!low_rank_) return reader_.read(n, row);
    read_dense(kSparseA, n, p_.rank, row);
  }

  void read_dense(SparseSlot slot, std::int64_t n, std::int64_t columns, SparseRow& row) const {
    row.k.clear();
    row.value.clear();
    for (std::int64_t k = 0; k < columns; ++k) {
      row.k.push_back(k);
      row.value.push_back(value_at(in_[slot], n * columns + k));
    }
  }

  double sum(const std::vector<double>& x, const SparseRow& w, bool over_k) const {
    const bool narrow = is("accumulated_in_16_bits");
    const std::int64_t tile =
        over_k && is("last_k_tile_dropped") ? (p_.K - 1) / kTile * kTile : p_.K;
    const std::int64_t shift = is("index_shifted") ? 1 : 0;
    double sum = 0;
    for (std::size_t i = 0; i < w.k.size(); ++i) {
      if (over_k && w.k[i] >= tile) continue;
      const double a = x[static_cast<std::size_t>(
          shift == 0 ? w.k[i] : (w.k[i] + shift) % static_cast<std::int64_t>(x.size()))];
      if (p_.format == SparseFormat::kSkipX && a == 0) continue;
      sum += a * w.value[i];
      if (narrow) sum = from_fp16(to_fp16(sum));
    }
    return sum;
  }

  std::vector<double> x_row(std::int64_t m) const {
    SparseRow x;
    read_dense(kSparseX, m, p_.K, x);
    if (!low_rank_) return std::move(x.value);
    std::vector<double> inner;
    SparseRow b;
    for (std::int64_t r = 0; r < p_.rank; ++r) {
      read_dense(kSparseB, r, p_.K, b);
      inner.push_back(sum(x.value, b, true));
    }
    return inner;
  }

  void compute_column(std::int64_t n) {
    if (rows_.empty()) {
      for (std::int64_t m = 0; m < p_.M; ++m) rows_.push_back(x_row(m));
    }
    SparseRow w;
    read(is("rows_swapped") && n < 2 ? 1 - n : n, w);
    if (n == dropped_n_) {
      const auto at = std::find(w.k.begin(), w.k.end(), dropped_k_) - w.k.begin();
      w.k.erase(w.k.begin() + at);
      w.value.erase(w.value.begin() + at);
    }
    for (std::int64_t m = 0; m < p_.M; ++m) {
      if (is("element_not_written") && m == p_.M - 1 && n == p_.N - 1) continue;
      double y = sum(rows_[static_cast<std::size_t>(m)], w, !low_rank_);
      if (p_.has_bias && !is("bias_missing")) {
        y += static_cast<double>(in_[kSparseBias].as<float>()[n]);
      }
      y = activate(p_.activation, y);
      if (is("zeros")) y = 0;
      if (is("twice")) y *= 2;
      store_rounded(y_.view(), m * p_.N + n, y);
    }
  }

  void transpose_tile() {
    const std::int64_t tile = std::min({kTile, p_.M, p_.N});
    if (tile < 2) nothing_to_break(mutant_);
    const HostTensor right = y_;
    for (std::int64_t i = 0; i < tile; ++i) {
      for (std::int64_t j = 0; j < tile; ++j) {
        store_rounded(y_.view(), i * p_.N + j, right.value(j * p_.N + i));
      }
    }
  }

  std::string_view mutant_;
  SparseProblem p_;
  std::vector<Tensor> in_;
  SparseReader reader_;
  HostTensor y_;
  bool low_rank_;
  std::int64_t dropped_n_ = -1;
  std::int64_t dropped_k_ = -1;
  std::vector<std::vector<double>> rows_;  ///< x, or x·Bᵀ
};

}  // namespace

std::vector<Mutant> sparse_mutants(const Problem& like) {
  const SparseProblem p = SparseProblem::from(like);
  std::vector<Mutant> mutants;
  for (const char* name :
       {"zeros", "twice", "last_k_tile_dropped", "nonzero_dropped", "tile_transposed",
        "rows_swapped", "accumulated_in_16_bits", "element_not_written"}) {
    mutants.push_back({name, ""});
  }
  mutants.push_back({"index_shifted", p.format == SparseFormat::kLowRank
                                          ? "the factors are dense: there is no column index"
                                          : ""});
  mutants.push_back({"bias_missing", p.has_bias ? "" : "there is no bias"});
  return mutants;
}

Outputs mutate_sparse(std::string_view mutant, const Problem& problem, const Operands& operands) {
  return Mutation(mutant, problem, operands).run();
}

}  // namespace pareto
