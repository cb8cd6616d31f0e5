// Inputs that between them expose every mutant of sparse layers, at the edges of tiles, words,
// blocks and groups.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/sparse_parts.h"

namespace pareto {
namespace {

struct Sizes {
  std::int64_t M;
  std::int64_t N;
  std::int64_t K;
};

class Battery {
 public:
  explicit Battery(const Problem& like) : like_(like), p_(SparseProblem::from(like)) {}

  std::vector<BatteryInput> run() {
    if (p_.format == SparseFormat::kBsr) add_whole_blocks();
    for (const Sizes& sizes : {Sizes{5, 17, 33}, Sizes{1, 1, 1}, Sizes{16, 32, 64},
                               Sizes{17, 33, 129}, Sizes{33, 130, 257}, Sizes{2, 48, 1030}}) {
      add_pattern("exact", sizes, true);
    }
    add_pattern("dense", {9, 31, 65}, true);
    add_pattern("all_zero", {3, 18, 66}, false);
    add_pattern("empty_rows", {7, 35, 130}, false);
    add_pattern("one_row", {6, 37, 200}, false);
    add_pattern("one_column", {6, 70, 45}, false);
    add_pattern("planted", {20, 65, 301}, false);
    add_pattern("non_finite", {12, 40, 130}, false);
    add_subnormal();
    add_accumulation();
    for (const Sizes& empty : {Sizes{0, 8, 8}, Sizes{4, 0, 8}, Sizes{4, 8, 0}}) {
      add_own("normal", empty);
    }
    add_own("normal", {33, 65, 129});
    add_own("uniform", {1, 129, 515});
    add_own("integer", {20, 64, 256});
    add_own("outlier", {31, 97, 333});
    add_own("positive", {8, 40, 1029});
    add_densities();
    return std::move(inputs_);
  }

 private:
  static std::string label(const std::string& distribution, const Problem& problem) {
    return fmt::format("{} {}x{}x{}", distribution, problem.size("M"), problem.size("N"),
                       problem.size("K"));
  }

  Problem sized(const Sizes& sizes) const {
    Problem problem = like_;
    problem.set("M", sizes.M).set("N", sizes.N).set("K", sizes.K);
    const std::int64_t rank = std::min(sizes.N, sizes.K) / 2;
    if (p_.format == SparseFormat::kLowRank) problem.set("rank", rank);
    return problem;
  }

  // The zeros are in the drawn tensors.
  Problem with_pattern(const Sizes& sizes) const {
    Problem problem = sized(sizes);
    problem.set("sparsity", std::numeric_limits<double>::quiet_NaN());
    problem.set("method", std::string("magnitude"));
    return problem;
  }

  void add(const std::string& name, Problem problem, const std::string& distribution, bool exact) {
    Draw draw;
    draw.distribution = distribution;
    inputs_.push_back({name, std::move(problem), draw, exact});
  }

  void add_pattern(const std::string& distribution, const Sizes& sizes, bool exact) {
    Problem problem = with_pattern(sizes);
    // Sums of whole numbers stay exact through relu alone.
    if (exact && p_.activation != Activation::kRelu) {
      problem.set("activation", std::string("none"));
    }
    add(label(distribution, problem), problem, distribution, exact);
  }

  // Who flushes subnormal numbers, and does not declare it, shows. fp16 has others, and two factors
  // of low rank would need other scales. Activations but relu would hide small sums.
  void add_subnormal() {
    if (p_.format == SparseFormat::kLowRank || p_.dtype == DType::kF16) return;
    Problem problem = with_pattern({18, 67, 132});
    if (p_.activation != Activation::kRelu) problem.set("activation", std::string("none"));
    add(label("subnormal", problem), problem, "subnormal", false);
  }

  // Long sums of values of one sign, unrounded and not squeezed by an activation: an accumulator of
  // 16 bits shows.
  void add_accumulation() {
    Problem problem = with_pattern({8, 40, 1029});
    problem.set("activation", std::string("none")).set("out_dtype", std::string("fp32"));
    add("planted fp32 " + label("", problem), problem, "planted", false);
  }

  // Pruned as the case is pruned.
  void add_own(const std::string& distribution, const Sizes& sizes) {
    Problem problem = sized(sizes);
    const SparsePruning pruning = SparsePruning::from(problem);
    const bool by_magnitude = pruning.method == SparsePruning::Method::kMagnitude ||
                              pruning.method == SparsePruning::Method::kMagnitudeRow;
    if ((by_magnitude || p_.format == SparseFormat::k2to4) && pruning.keep &&
        p_.format != SparseFormat::kLowRank) {
      problem.set("sparsity", 0.5);
    }
    add(label(distribution, problem), problem, distribution, false);
  }

  void add_densities() {
    if (p_.format == SparseFormat::k2to4 || p_.format == SparseFormat::kLowRank) return;
    for (const double sparsity : {0.0, 0.9, 1.0}) {
      Problem problem = with_pattern({10, 33, 140});
      problem.set("sparsity", sparsity);
      add(fmt::format("sparsity {} {}", sparsity, label("normal", problem)), problem, "normal",
          false);
    }
  }

  // Libraries take no blocks that reach beyond W. First, so that what a library says of them is
  // told where it refuses everything.
  void add_whole_blocks() {
    for (const Sizes& sizes : {Sizes{1, 128, 256}, Sizes{19, 256, 128}}) {
      add_pattern("exact", sizes, true);
      add_pattern("planted", sizes, false);
      add_own("normal", sizes);
    }
  }

  const Problem& like_;
  SparseProblem p_;
  std::vector<BatteryInput> inputs_;
};

}  // namespace

std::vector<BatteryInput> sparse_battery(const Problem& like) { return Battery(like).run(); }

}  // namespace pareto
