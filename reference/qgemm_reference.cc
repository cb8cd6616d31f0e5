// The fp64 reference of qgemm with the sums that its error bound needs.
//
// Rows of x are decoded once per block that fits in memory, rows of w one at a time, and every
// wanted element is a plain loop over k in order (qgemm_sums.cc).
#include <algorithm>
#include <map>
#include <utility>

#include "harness/problem.h"
#include "reference/parallel_rows.h"
#include "reference/qgemm_operands.h"
#include "reference/qgemm_parts.h"
#include "reference/qgemm_sums.h"

namespace pareto {
namespace {

constexpr std::int64_t kBlockBytes = std::int64_t{64} << 20;
constexpr std::int64_t kBlockElements = std::int64_t{4} << 20;

// An element of y and where its terms go.
struct Wanted {
  std::size_t row;  ///< of x, within the block
  std::size_t place;
};

// Elements of one block of rows of x, by column of y.
struct Block {
  std::vector<std::int64_t> x_rows;
  std::vector<std::pair<std::int64_t, std::vector<Wanted>>> columns;
  std::size_t begin = 0;
  std::size_t end = 0;
};

class Reference {
 public:
  Reference(const Problem& problem, const Operands& operands, std::span<const std::int64_t> list,
            bool values_only)
      : p_(QgemmProblem::from(problem)),
        in_(qgemm_views(operands)),
        list_(list),
        values_only_(values_only),
        tensor_scale_(x_tensor_scale(p_, in_)) {
    terms_.column.resize(kTermCount);
    column_of(kTermValue).resize(list.size());
    if (values_only) return;
    for (const int column :
         {kTermAbs, kTermSquares, kTermPrefix, kTermFlushed, kTermFaint, kTermAlike}) {
      column_of(column).resize(list.size());
    }
    if (p_.has_bias || p_.activation != Activation::kNone) column_of(kTermPre).resize(list.size());
    if (p_.has_bias) column_of(kTermZ).resize(list.size());
    const bool two_terms = p_.w_kind == WKind::kQ4kBlock;  // of every group
    if (!p_.integer_products() || (p_.w_groups() <= 1 && !two_terms)) return;
    for (const int column : {kTermGroupAbs, kTermGroupSquares, kTermGroupPrefix, kTermGroupAlike}) {
      column_of(column).resize(list.size());
    }
  }

  Terms run(int threads) {
    for (std::size_t place = 0; place < list_.size();) {
      const Block block = next_block(place);
      run_block(block, threads);
      place = block.end;
    }
    for (const int column : {kTermFlushed, kTermFaint, kTermAlike, kTermGroupAlike}) {
      std::vector<double>& rare = column_of(column);
      if (std::all_of(rare.begin(), rare.end(), [](double f) { return f == 0; })) rare.clear();
    }
    return std::move(terms_);
  }

 private:
  std::vector<double>& column_of(int column) {
    return terms_.column[static_cast<std::size_t>(column)];
  }

  // As many rows of x as fit in memory, from place `begin` on.
  Block next_block(std::size_t begin) const {
    const std::int64_t bytes_per_row = 16 * std::max<std::int64_t>(p_.K, 1);
    const std::int64_t most =
        std::max(kPanelRows, std::min(kBlockBytes / bytes_per_row, kBlockElements / p_.N));
    Block block;
    block.begin = begin;
    std::map<std::int64_t, std::vector<Wanted>> by_column;
    std::size_t place = begin;
    for (; place < list_.size(); ++place) {
      const std::int64_t m = list_[place] / p_.N;
      if (block.x_rows.empty() || block.x_rows.back() != m) {
        if (static_cast<std::int64_t>(block.x_rows.size()) == most) break;
        block.x_rows.push_back(m);
      }
      by_column[list_[place] % p_.N].push_back({block.x_rows.size() - 1, place});
    }
    block.end = place;
    block.columns.assign(by_column.begin(), by_column.end());
    return block;
  }

  void run_block(const Block& block, int threads) {
    const std::int64_t steps = static_cast<std::int64_t>(block.end - block.begin) * p_.K;
    const int team = steps < 1'000'000 ? 1 : threads;
    const std::span<const std::int64_t> rows = block.x_rows;
    std::vector<QgemmXPanel> panels((rows.size() + kPanelRows - 1) / kPanelRows);
    parallel_rows(
        static_cast<std::int64_t>(panels.size()), team, [&](std::int64_t first, std::int64_t last) {
          for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
            const std::size_t row = i * kPanelRows;
            const std::size_t count = std::min<std::size_t>(kPanelRows, rows.size() - row);
            panels[i] = decode_x(p_, in_, rows.subspan(row, count), tensor_scale_);
          }
        });
    parallel_rows(static_cast<std::int64_t>(block.columns.size()), team,
                  [&](std::int64_t first, std::int64_t last) {
                    QgemmWRow w;
                    for (std::int64_t i = first; i < last; ++i) {
                      const auto& [n, wanted] = block.columns[static_cast<std::size_t>(i)];
                      decode_w(p_, in_, n, w);
                      run_column(n, w, wanted, panels);
                    }
                  });
  }

  // The wanted elements of one column, panel by panel.
  void run_column(std::int64_t n, const QgemmWRow& w, const std::vector<Wanted>& wanted,
                  const std::vector<QgemmXPanel>& panels) {
    std::size_t panel = panels.size();
    std::array<QgemmSums, kPanelRows> sums;
    for (const Wanted& element : wanted) {
      if (element.row / kPanelRows != panel) {
        panel = element.row / kPanelRows;
        sums = qgemm_sums(p_, panels[panel], w, values_only_);
      }
      put(n, element.place, sums[element.row % kPanelRows]);
    }
  }

  void put(std::int64_t n, std::size_t place, const QgemmSums& sums) {
    const double bias = p_.has_bias ? static_cast<double>(in_[kQgemmBias].as<float>()[n]) : 0.0;
    const double pre = p_.has_bias ? sums.z + bias : sums.z;
    set(kTermValue, place, activate(p_.activation, pre));
    set(kTermPre, place, pre);
    set(kTermZ, place, sums.z);
    set(kTermAbs, place, sums.abs);
    set(kTermSquares, place, sums.squares);
    set(kTermPrefix, place, sums.prefix);
    set(kTermFlushed, place, sums.flushed);
    set(kTermFaint, place, sums.faint);
    set(kTermAlike, place, sums.alike);
    set(kTermGroupAbs, place, sums.group_abs);
    set(kTermGroupSquares, place, sums.group_squares);
    set(kTermGroupPrefix, place, sums.group_prefix);
    set(kTermGroupAlike, place, sums.group_alike);
  }

  void set(int column, std::size_t place, double value) {
    std::vector<double>& values = column_of(column);
    if (!values.empty()) values[place] = value;
  }

  QgemmProblem p_;
  std::vector<Tensor> in_;
  std::span<const std::int64_t> list_;
  bool values_only_;
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
  terms.push_back(Reference(problem, operands, positions[kQgemmY], false).run(threads));
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
  const Operands operands = encode_qgemm(plain, inputs);
  const QgemmProblem p = QgemmProblem::from(plain);
  std::vector<std::vector<double>> values;
  Terms y = Reference(plain, operands, positions[kQgemmY], true).run(threads);
  values.push_back(std::move(y.column[kTermValue]));
  if (p.integer_operands()) {
    Terms acc = integer_accumulators(p, qgemm_views(operands), positions[kQgemmAcc], threads);
    values.push_back(std::move(acc.column[0]));
  }
  return values;
}

}  // namespace pareto
