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
  bool subnormal = false;
  // Schemes with integer products only: value = code·scale − offset.
  std::vector<std::int32_t> codes;
  std::vector<float> scales;
  std::vector<float> offsets;
};

// One decoded row of x.
struct XRow {
  std::vector<double> value;
  bool subnormal = false;
  // Schemes with integer products only: value = (code − zero)·scale.
  std::vector<std::int64_t> codes;  ///< zero point taken off
  std::vector<float> scales;
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

void decode_w(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n, WRow& row) {
  const auto K = static_cast<std::size_t>(problem.K);
  row.value.resize(K);
  row.magnitude.resize(K);
  row.square.resize(K);
  decode_w_row(problem, in, n, row.value.data());
  std::vector<double> offsets(static_cast<std::size_t>(problem.w_groups()), 0);
  if (problem.w_kind == WKind::kQ4kBlock) w_offsets(problem, in, n, offsets.data());
  for (std::size_t k = 0; k < K; ++k) {
    const double offset = offsets[k / static_cast<std::size_t>(problem.w_group)];
    const double product = row.value[k] + offset;
    row.magnitude[k] = std::abs(product) + offset;
    row.square[k] = product * product + offset * offset;
  }
  row.subnormal = any_subnormal(row.value);
  if (!problem.integer_products()) return;
  row.codes.resize(K);
  row.scales.resize(offsets.size());
  row.offsets.resize(offsets.size());
  integer_w_row(problem, in, n, row.codes.data(), row.scales.data(), row.offsets.data());
}

XRow decode_x(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t m,
              float tensor_scale) {
  XRow row;
  row.value.resize(static_cast<std::size_t>(problem.K));
  decode_x_row(problem, in, m, tensor_scale, row.value.data());
  row.subnormal = any_subnormal(row.value);
  if (!problem.integer_products()) return row;
  std::vector<std::int32_t> codes(row.value.size());
  row.scales.resize(static_cast<std::size_t>(problem.x_groups()));
  std::int32_t zero = 0;
  quantize_x_row(problem, in, m, tensor_scale, codes.data(), row.scales.data(), &zero);
  row.codes.assign(codes.begin(), codes.end());
  for (std::int64_t& code : row.codes) code -= zero;
  return row;
}

// Sums over single products; z is their sum in order.
void sum_products(const double* a, const WRow& w, std::int64_t K, Sums& sums) {
  double z = 0;
  double abs = 0;
  double squares = 0;
  double prefix = 0;
  for (std::int64_t k = 0; k < K; ++k) {
    const auto i = static_cast<std::size_t>(k);
    z += a[k] * w.value[i];
    abs += std::abs(a[k]) * w.magnitude[i];
    squares += a[k] * a[k] * w.square[i];
    prefix += z * z;
  }
  sums.z = z;
  sums.abs = abs;
  sums.squares = squares;
  sums.prefix = K > 0 ? prefix / static_cast<double>(K) : 0;
}

// The same products as scaled sums of integers, exact within a group: z anew, and the sums over
// groups (two terms each where w has an offset).
void sum_groups(const QgemmProblem& problem, const XRow& x, const WRow& w, Sums& sums) {
  const auto K = static_cast<std::size_t>(problem.K);
  const auto step = static_cast<std::size_t>(problem.w_group);
  sums.z = 0;
  for (std::size_t g = 0; g < w.scales.size(); ++g) {
    std::int64_t products = 0;
    std::int64_t codes = 0;
    for (std::size_t k = g * step; k < std::min(K, (g + 1) * step); ++k) {
      products += x.codes[k] * w.codes[k];
      codes += x.codes[k];
    }
    const double x_scale = x.scales[g];
    const double first = static_cast<double>(products) * (x_scale * w.scales[g]);
    const double second = static_cast<double>(codes) * (x_scale * w.offsets[g]);
    sums.z += first - second;
    sums.group_abs += std::abs(first) + std::abs(second);
    sums.group_squares += first * first + second * second;
    sums.group_prefix += sums.z * sums.z;
  }
  if (!w.scales.empty()) sums.group_prefix /= static_cast<double>(w.scales.size());
}

Sums sums_of(const QgemmProblem& problem, const XRow& x, const WRow& w) {
  Sums sums;
  sum_products(x.value.data(), w, problem.K, sums);
  if (problem.integer_products()) sum_groups(problem, x, w, sums);
  if (!x.subnormal && !w.subnormal) return sums;
  for (std::size_t k = 0; k < x.value.size(); ++k) {
    if (std::min(std::abs(x.value[k]), std::abs(w.value[k])) < kSmallestNormalFp32) {
      sums.flushed += std::abs(x.value[k] * w.value[k]);
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
        std::max<std::int64_t>(1, std::min(kBlockBytes / (16 * std::max<std::int64_t>(p_.K, 1)),
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
    std::vector<XRow> x(x_rows.size());
    const std::int64_t steps = static_cast<std::int64_t>(place - begin) * p_.K;
    const int team = steps < 1'000'000 ? 1 : threads;
    parallel_rows(count, team, [&](std::int64_t first, std::int64_t last) {
      for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
        x[i] = decode_x(p_, in_, x_rows[i], tensor_scale_);
      }
    });
    const std::vector<std::pair<std::int64_t, std::vector<Wanted>>> columns(by_column.begin(),
                                                                            by_column.end());
    parallel_rows(static_cast<std::int64_t>(columns.size()), team,
                  [&](std::int64_t first, std::int64_t last) {
                    WRow w;
                    for (std::int64_t i = first; i < last; ++i) {
                      const auto& [n, wanted] = columns[static_cast<std::size_t>(i)];
                      decode_w(p_, in_, n, w);
                      for (const Wanted& element : wanted) {
                        put(n, element.place,
                            sums_of(p_, x[static_cast<std::size_t>(element.m)], w));
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
