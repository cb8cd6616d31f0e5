// fp64 reference of sparse layers on the very operands of a kernel, element by element, with the
// sums that the error bound needs.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "reference/equal_addends.h"
#include "reference/parallel_rows.h"
#include "reference/sparse_formats.h"
#include "reference/sparse_parts.h"

namespace pareto {
namespace {

constexpr std::int64_t kBlockBytes = std::int64_t{64} << 20;
constexpr std::int64_t kBlockElements = std::int64_t{4} << 20;
constexpr double kSmallestNormalFp32 = 0x1p-126;

struct Sums {
  double z = 0;
  double abs = 0;
  double squares = 0;
  double prefix = 0;  ///< Σ of squared prefix sums until `finish`, then their mean
  double nonzeros = 0;
  double flushed = 0;
  double opposite = 0;
  double inner = 0;
  double peak = 0;
  double alike = 0;

  void add(double a, double b) {
    const double product = a * b;
    z += product;
    abs += std::abs(product);
    squares += product * product;
    prefix += z * z;
    nonzeros += 1;
    if (std::abs(a) < kSmallestNormalFp32 || std::abs(b) < kSmallestNormalFp32) {
      flushed += std::abs(product);
    }
  }
  void finish() {
    if (nonzeros > 0) prefix /= nonzeros;
  }
  /// V of the RMS test.
  [[nodiscard]] double v() const { return std::max(z * z / 3 + squares / 6, prefix); }
};

// An element of y and where its terms go.
struct Wanted {
  std::int64_t m;  ///< row within the block of x
  std::size_t place;
};

// Some rows of x as doubles.
struct XRows {
  std::int64_t count = 0;
  std::int64_t K = 0;
  std::vector<double> value;
  std::vector<std::int64_t> non_finite;  ///< per row
  std::vector<double> alike;             ///< per row: equal_pairs
  [[nodiscard]] const double* row(std::int64_t m) const { return value.data() + m * K; }
};

class Reference {
 public:
  Reference(const Problem& problem, const Operands& operands, std::span<const std::int64_t> list,
            int threads)
      : p_(SparseProblem::from(problem)),
        in_(sparse_views(operands)),
        reader_(p_, in_),
        list_(list),
        threads_(threads) {
    terms_.column.assign(static_cast<std::size_t>(SparseTerm::kCount),
                         std::vector<double>(list.size()));
    if (p_.format != SparseFormat::kLowRank) {
      column(SparseTerm::kInner).clear();
      column(SparseTerm::kPeak).clear();
    } else {
      column(SparseTerm::kAlike).clear();
    }
  }

  Terms run() {
    const std::int64_t rows =
        std::max<std::int64_t>(1, std::min(kBlockBytes / (8 * std::max<std::int64_t>(p_.K, 1)),
                                           kBlockElements / std::max<std::int64_t>(p_.N, 1)));
    for (std::size_t begin = 0; begin < list_.size();) begin = run_block(begin, rows);
    for (const SparseTerm term : {SparseTerm::kFlushed, SparseTerm::kOpposite}) {
      std::vector<double>& values = column(term);
      if (std::all_of(values.begin(), values.end(), [](double v) { return v == 0; })) {
        values.clear();
      }
    }
    return std::move(terms_);
  }

 private:
  using Columns = std::vector<std::pair<std::int64_t, std::vector<Wanted>>>;

  std::vector<double>& column(SparseTerm term) {
    return terms_.column[static_cast<std::size_t>(term)];
  }

  // Elements of up to `rows` different rows of x from place `begin` on; returns where it stopped.
  std::size_t run_block(std::size_t begin, std::int64_t rows) {
    std::vector<std::int64_t> x_rows;
    std::map<std::int64_t, std::vector<Wanted>> by_column;
    std::size_t place = begin;
    for (; place < list_.size(); ++place) {
      const std::int64_t m = list_[place] / p_.N;
      if (x_rows.empty() || x_rows.back() != m) {
        if (static_cast<std::int64_t>(x_rows.size()) == rows) break;
        x_rows.push_back(m);
      }
      by_column[list_[place] % p_.N].push_back(
          {static_cast<std::int64_t>(x_rows.size()) - 1, place});
    }
    const Columns columns(by_column.begin(), by_column.end());
    const int team = static_cast<std::int64_t>(place - begin) * p_.K < 1'000'000 ? 1 : threads_;
    const XRows x = decode_x(x_rows, team);
    if (p_.format == SparseFormat::kLowRank) {
      low_rank_columns(x, columns, team);
    } else {
      sparse_columns(x, columns, team);
    }
    return place;
  }

  XRows decode_x(const std::vector<std::int64_t>& rows, int team) const {
    XRows x;
    x.count = static_cast<std::int64_t>(rows.size());
    x.K = p_.K;
    x.value.resize(static_cast<std::size_t>(x.count * x.K));
    x.non_finite.resize(rows.size());
    x.alike.resize(rows.size());
    parallel_rows(x.count, team, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t m = begin; m < end; ++m) {
        for (std::int64_t k = 0; k < p_.K; ++k) {
          const double value =
              value_at(in_[kSparseX], rows[static_cast<std::size_t>(m)] * p_.K + k);
          x.value[static_cast<std::size_t>(m * p_.K + k)] = value;
          if (!std::isfinite(value)) ++x.non_finite[static_cast<std::size_t>(m)];
        }
        x.alike[static_cast<std::size_t>(m)] = equal_pairs({x.row(m), x.row(m) + p_.K});
      }
    });
    return x;
  }

  void sparse_columns(const XRows& x, const Columns& columns, int team) {
    parallel_rows(static_cast<std::int64_t>(columns.size()), team,
                  [&](std::int64_t first, std::int64_t last) {
                    SparseRow w;
                    for (std::int64_t i = first; i < last; ++i) {
                      const auto& [n, wanted] = columns[static_cast<std::size_t>(i)];
                      reader_.read(n, w);
                      const double alike = equal_pairs(w.value);
                      for (const Wanted& element : wanted) {
                        Sums sums = sums_of(x, element.m, w);
                        sums.alike = alike * x.alike[static_cast<std::size_t>(element.m)];
                        put(n, element.place, sums);
                      }
                    }
                  });
  }

  Sums sums_of(const XRows& x, std::int64_t m, const SparseRow& w) const {
    const double* row = x.row(m);
    const bool skip_x = p_.format == SparseFormat::kSkipX;
    std::int64_t hit = 0;
    Sums sums;
    for (std::size_t i = 0; i < w.k.size(); ++i) {
      const double a = row[w.k[i]];
      if (skip_x && a == 0) {
        if (!std::isfinite(w.value[i])) sums.opposite = 1;
        continue;
      }
      sums.add(a, w.value[i]);
      if (!std::isfinite(a)) ++hit;
    }
    if (hit != x.non_finite[static_cast<std::size_t>(m)]) sums.opposite = 1;
    sums.finish();
    return sums;
  }

  // t = x·Bᵀ for all rows of the block and all of the rank, then t·Aᵀ.
  void low_rank_columns(const XRows& x, const Columns& columns, int team) {
    std::vector<Sums> inner(static_cast<std::size_t>(x.count * p_.rank));
    parallel_rows(p_.rank, team, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const std::vector<double> b = row_of(kSparseB, r, p_.K);
        for (std::int64_t m = 0; m < x.count; ++m) {
          Sums sums;
          for (std::int64_t k = 0; k < p_.K; ++k) {
            sums.add(x.row(m)[k], b[static_cast<std::size_t>(k)]);
          }
          sums.finish();
          inner[static_cast<std::size_t>(m * p_.rank + r)] = sums;
        }
      }
    });
    parallel_rows(static_cast<std::int64_t>(columns.size()), team,
                  [&](std::int64_t first, std::int64_t last) {
                    for (std::int64_t i = first; i < last; ++i) {
                      const auto& [n, wanted] = columns[static_cast<std::size_t>(i)];
                      const std::vector<double> a = row_of(kSparseA, n, p_.rank);
                      for (const Wanted& element : wanted) {
                        put(n, element.place, outer_sums(inner.data() + element.m * p_.rank, a));
                      }
                    }
                  });
  }

  std::vector<double> row_of(SparseSlot slot, std::int64_t row, std::int64_t columns) const {
    std::vector<double> values;
    for (std::int64_t i = 0; i < columns; ++i) {
      values.push_back(value_at(in_[slot], row * columns + i));
    }
    return values;
  }

  static Sums outer_sums(const Sums* inner, const std::vector<double>& row_of_a) {
    Sums sums;
    double abs = 0;
    double flushed = 0;
    for (std::size_t r = 0; r < row_of_a.size(); ++r) {
      const double a = row_of_a[r];
      sums.add(inner[r].z, a);
      abs += std::abs(a) * inner[r].abs;
      flushed += std::abs(a) * inner[r].flushed;
      sums.inner += a * a * inner[r].v();
      sums.peak = std::max(sums.peak, inner[r].abs);
    }
    sums.finish();
    sums.abs = abs;
    sums.flushed += flushed;
    return sums;
  }

  void put(std::int64_t n, std::size_t place, const Sums& sums) {
    const double pre =
        p_.has_bias ? sums.z + static_cast<double>(in_[kSparseBias].as<float>()[n]) : sums.z;
    set(SparseTerm::kValue, place, activate(p_.activation, pre));
    set(SparseTerm::kPre, place, pre);
    set(SparseTerm::kZ, place, sums.z);
    set(SparseTerm::kAbs, place, sums.abs);
    set(SparseTerm::kSquares, place, sums.squares);
    set(SparseTerm::kPrefix, place, sums.prefix);
    set(SparseTerm::kNonzeros, place, sums.nonzeros);
    set(SparseTerm::kFlushed, place, sums.flushed);
    set(SparseTerm::kOpposite, place, sums.opposite);
    set(SparseTerm::kAlike, place, sums.alike);
    set(SparseTerm::kInner, place, sums.inner);
    set(SparseTerm::kPeak, place, sums.peak);
  }

  void set(SparseTerm term, std::size_t place, double value) {
    std::vector<double>& values = column(term);
    if (!values.empty()) values[place] = value;
  }

  SparseProblem p_;
  std::vector<Tensor> in_;
  SparseReader reader_;
  std::span<const std::int64_t> list_;
  int threads_;
  Terms terms_;
};

}  // namespace

ReferenceTerms sparse_reference(const Problem& problem, const Operands& operands,
                                const Positions& positions, int threads) {
  ReferenceTerms terms;
  terms.push_back(Reference(problem, operands, positions[kSparseY], threads).run());
  return terms;
}

std::vector<std::vector<double>> sparse_original(const Problem& problem, const TensorMap& inputs,
                                                 const Positions& positions, int threads) {
  // Unrounded and unpruned; zeros that were there stay skipped.
  Problem plain = problem;
  plain.set("dtype", std::string("fp32"));
  plain.set("sparsity", std::numeric_limits<double>::quiet_NaN());
  const bool factors = problem.word("format") == "lowrank" && problem.word("method") != "svd";
  if (!factors) {
    if (problem.word("format") != "skip_x") plain.set("format", std::string("csr"));
    plain.set("method", std::string("magnitude"));
  }
  ReferenceTerms terms = sparse_reference(plain, encode_sparse(plain, inputs), positions, threads);
  return {std::move(terms[0].column[0])};
}

}  // namespace pareto
