// The fp64 reference of qgemm with the sums that its error bound needs.
//
// Rows of x are decoded once per block that fits in memory, rows of w one at a time, and every
// wanted element is one plain loop over k in order.
#include <algorithm>
#include <cmath>
#include <map>

#include "harness/problem.h"
#include "reference/parallel_rows.h"
#include "reference/qgemm_operands.h"
#include "reference/qgemm_parts.h"

namespace pareto {
namespace {

constexpr std::int64_t kBlockBytes = std::int64_t{64} << 20;
constexpr std::int64_t kBlockElements = std::int64_t{4} << 20;
constexpr double kSmallestNormalFp32 = 0x1p-126;

// One decoded row of w. Offsets of q4_k make |b| and b² larger than those of the difference: the
// formula d·sc·q − dmin·mn may be summed as two products.
struct WRow {
  std::vector<double> value;
  std::vector<double> magnitude;  ///< |d·sc·q| + dmin·mn
  std::vector<double> square;     ///< (d·sc·q)² + (dmin·mn)²
  std::vector<double> offset;     ///< per group
  bool subnormal = false;
};

struct Sums {
  double z = 0;
  double abs = 0;
  double squares = 0;
  double prefix = 0;
  double flushed = 0;
  double group_abs = 0;
  double group_squares = 0;
  double group_prefix = 0;
};

bool any_subnormal(const std::vector<double>& row) {
  return std::any_of(row.begin(), row.end(), [](double value) {
    return value != 0 && std::abs(value) < kSmallestNormalFp32;
  });
}

void decode_w(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
              bool group_sums, WRow& row) {
  const auto K = static_cast<std::size_t>(problem.K);
  row.value.resize(K);
  row.magnitude.resize(K);
  row.square.resize(K);
  row.offset.assign(static_cast<std::size_t>(problem.w_groups()), 0);
  decode_w_row(problem, in, n, row.value.data());
  if (problem.w_kind == WKind::kQ4kBlock) w_offsets(problem, in, n, row.offset.data());
  for (std::size_t k = 0; k < K; ++k) {
    const double offset = row.offset[k / static_cast<std::size_t>(problem.w_group)];
    const double product = row.value[k] + offset;
    row.magnitude[k] = std::abs(product) + offset;
    row.square[k] = product * product + offset * offset;
  }
  if (!group_sums) row.offset.clear();
  row.subnormal = any_subnormal(row.value);
}

// Adds the products [begin, end) of one group to the sums; returns the group's own sum.
double add_products(const double* a, const WRow& w, std::int64_t begin, std::int64_t end,
                    Sums& sums) {
  double group = 0;
  double z = sums.z;
  double abs = sums.abs;
  double squares = sums.squares;
  double prefix = sums.prefix;
  for (std::int64_t k = begin; k < end; ++k) {
    const auto i = static_cast<std::size_t>(k);
    const double product = a[k] * w.value[i];
    group += product;
    z += product;
    abs += std::abs(a[k]) * w.magnitude[i];
    squares += a[k] * a[k] * w.square[i];
    prefix += z * z;
  }
  sums.z = z;
  sums.abs = abs;
  sums.squares = squares;
  sums.prefix = prefix;
  return group;
}

// Scaled group sums: one per group, two where w has an offset.
void add_group(const double* a, std::int64_t begin, std::int64_t end, double group, double offset,
               Sums& sums) {
  double second = 0;
  if (offset != 0) {
    for (std::int64_t k = begin; k < end; ++k) second += a[k];
    second *= offset;
  }
  const double first = group + second;
  sums.group_abs += std::abs(first) + std::abs(second);
  sums.group_squares += first * first + second * second;
  sums.group_prefix += sums.z * sums.z;
}

Sums sums_of(const QgemmProblem& problem, const double* a, bool a_subnormal, const WRow& w) {
  Sums sums;
  const std::int64_t K = problem.K;
  const std::int64_t step = w.offset.empty() ? std::max<std::int64_t>(K, 1) : problem.w_group;
  for (std::int64_t begin = 0; begin < K; begin += step) {
    const std::int64_t end = std::min(K, begin + step);
    const double group = add_products(a, w, begin, end, sums);
    if (!w.offset.empty()) {
      add_group(a, begin, end, group, w.offset[static_cast<std::size_t>(begin / step)], sums);
      // The mean over groups.
      if (end == K) sums.group_prefix /= static_cast<double>(w.offset.size());
    }
  }
  if (K > 0) sums.prefix /= static_cast<double>(K);
  if (!a_subnormal && !w.subnormal) return sums;
  for (std::int64_t k = 0; k < K; ++k) {
    const double b = w.value[static_cast<std::size_t>(k)];
    if (std::min(std::abs(a[k]), std::abs(b)) < kSmallestNormalFp32) {
      sums.flushed += std::abs(a[k] * b);
    }
  }
  return sums;
}

// An element of y and where its terms go.
struct Wanted {
  std::int64_t m;  ///< row within the block of x
  std::size_t place;
};

class Reference {
 public:
  Reference(const Problem& problem, const Operands& operands, std::span<const std::int64_t> list)
      : p_(QgemmProblem::from(problem)),
        in_(qgemm_views(operands)),
        list_(list),
        groups_(p_.integer_products() && p_.w_groups() > 1),
        tensor_scale_(x_tensor_scale(p_, in_)) {
    terms_.column.resize(kTermCount);
    for (const int column : {kTermValue, kTermAbs, kTermSquares, kTermPrefix, kTermFlushed}) {
      column_of(column).resize(list.size());
    }
    if (p_.has_bias || p_.activation != Activation::kNone) column_of(kTermPre).resize(list.size());
    if (p_.has_bias) column_of(kTermZ).resize(list.size());
    if (groups_) {
      for (const int column : {kTermGroupAbs, kTermGroupSquares, kTermGroupPrefix}) {
        column_of(column).resize(list.size());
      }
    }
  }

  Terms run(int threads) {
    const std::int64_t rows_per_block =
        std::max<std::int64_t>(1, std::min(kBlockBytes / (8 * std::max<std::int64_t>(p_.K, 1)),
                                           kBlockElements / std::max<std::int64_t>(p_.N, 1)));
    std::size_t begin = 0;
    while (begin < list_.size()) {
      begin = run_block(begin, rows_per_block, threads);
    }
    std::vector<double>& flushed = column_of(kTermFlushed);
    if (std::all_of(flushed.begin(), flushed.end(), [](double f) { return f == 0; })) {
      flushed.clear();
    }
    return std::move(terms_);
  }

 private:
  std::vector<double>& column_of(int column) {
    return terms_.column[static_cast<std::size_t>(column)];
  }

  // Elements of up to `rows` different rows of x from place `begin` on; returns where it stopped.
  std::size_t run_block(std::size_t begin, std::int64_t rows, int threads) {
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
    const auto count = static_cast<std::int64_t>(x_rows.size());
    std::vector<double> x(static_cast<std::size_t>(count * p_.K));
    std::vector<char> subnormal(x_rows.size());
    const std::int64_t steps = static_cast<std::int64_t>(place - begin) * p_.K;
    const int team = steps < 1'000'000 ? 1 : threads;
    parallel_rows(count, team, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        double* row = x.data() + i * p_.K;
        decode_x_row(p_, in_, x_rows[static_cast<std::size_t>(i)], tensor_scale_, row);
        subnormal[static_cast<std::size_t>(i)] = std::any_of(row, row + p_.K, [](double value) {
          return value != 0 && std::abs(value) < kSmallestNormalFp32;
        });
      }
    });
    const std::vector<std::pair<std::int64_t, std::vector<Wanted>>> columns(by_column.begin(),
                                                                            by_column.end());
    parallel_rows(static_cast<std::int64_t>(columns.size()), team,
                  [&](std::int64_t first, std::int64_t last) {
                    WRow w;
                    for (std::int64_t i = first; i < last; ++i) {
                      const auto& [n, wanted] = columns[static_cast<std::size_t>(i)];
                      decode_w(p_, in_, n, groups_, w);
                      for (const Wanted& element : wanted) {
                        put(n, element.place,
                            sums_of(p_, x.data() + element.m * p_.K,
                                    subnormal[static_cast<std::size_t>(element.m)] != 0, w));
                      }
                    }
                  });
    return place;
  }

  void put(std::int64_t n, std::size_t place, const Sums& sums) {
    const double bias = p_.has_bias ? static_cast<double>(in_[kQgemmBias].as<float>()[n]) : 0.0;
    const double pre = p_.has_bias ? sums.z + bias : sums.z;
    set(kTermValue, place, activate(p_.activation, pre));
    set(kTermPre, place, pre);
    set(kTermZ, place, sums.z);
    set(kTermAbs, place, sums.abs);
    set(kTermSquares, place, sums.squares);
    set(kTermPrefix, place, sums.prefix);
    set(kTermFlushed, place, sums.flushed);
    set(kTermGroupAbs, place, sums.group_abs);
    set(kTermGroupSquares, place, sums.group_squares);
    set(kTermGroupPrefix, place, sums.group_prefix);
  }

  void set(int column, std::size_t place, double value) {
    std::vector<double>& values = column_of(column);
    if (!values.empty()) values[place] = value;
  }

  QgemmProblem p_;
  std::vector<Tensor> in_;
  std::span<const std::int64_t> list_;
  bool groups_;
  float tensor_scale_;
  Terms terms_;
};

// Σ(x − zero)·w in integers.
Terms integer_accumulators(const QgemmProblem& problem, std::span<const Tensor> in,
                           std::span<const std::int64_t> list, int threads) {
  Terms terms;
  terms.column.assign(1, std::vector<double>(list.size()));
  parallel_rows(
      static_cast<std::int64_t>(list.size()), threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t m = list[static_cast<std::size_t>(i)] / problem.N;
          const std::int64_t n = list[static_cast<std::size_t>(i)] % problem.N;
          const std::int64_t zero = problem.has_x_zero ? in[kQgemmXZero].as<std::int32_t>()[m] : 0;
          const std::byte* x = in[kQgemmX].data + m * problem.K;
          const std::int8_t* w = in[kQgemmW].as<std::int8_t>() + n * problem.K;
          std::int64_t acc = 0;
          for (std::int64_t k = 0; k < problem.K; ++k) {
            const auto byte = static_cast<std::uint8_t>(x[k]);
            const std::int64_t code =
                problem.x_dtype == DType::kU8 ? byte : static_cast<std::int8_t>(byte);
            acc += (code - zero) * w[k];
          }
          terms.column[0][static_cast<std::size_t>(i)] = static_cast<double>(acc);
        }
      });
  return terms;
}

}  // namespace

ReferenceTerms qgemm_reference(const Problem& problem, const Operands& operands,
                               const Positions& positions, int threads) {
  ReferenceTerms terms;
  terms.push_back(Reference(problem, operands, positions[kQgemmY]).run(threads));
  const QgemmProblem p = QgemmProblem::from(problem);
  if (p.integer_operands()) {
    terms.push_back(integer_accumulators(p, qgemm_views(operands), positions[kQgemmAcc], threads));
  }
  return terms;
}

std::vector<std::vector<double>> qgemm_original(const Problem& problem, const TensorMap& inputs,
                                                const Positions& positions, int threads) {
  Problem plain = problem;
  // Integers are their own originals; floats are multiplied as they came.
  if (problem.word("operands") == "float") {
    plain.set("scheme", std::string("fp32")).set("compat", std::string("none"));
  }
  ReferenceTerms terms = qgemm_reference(plain, encode_qgemm(plain, inputs), positions, threads);
  std::vector<std::vector<double>> values;
  for (Terms& output : terms) values.push_back(std::move(output.column[0]));
  return values;
}

}  // namespace pareto
