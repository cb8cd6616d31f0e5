// Op sparse: its keys, and its parts put together.
#include "reference/sparse.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "harness/errors.h"
#include "harness/registry.h"
#include "reference/matrix_positions.h"
#include "reference/sparse_parts.h"

namespace pareto {
namespace {

constexpr std::int64_t kLargestK = std::numeric_limits<std::int32_t>::max();

Key number_key(const char* name, KeyKind kind, Value default_value, double min, const char* help) {
  Key key;
  key.name = name;
  key.kind = kind;
  key.default_value = std::move(default_value);
  key.min = min;
  key.help = help;
  return key;
}

// The first word is the default.
Key word_key(const char* name, std::vector<std::string> words, const char* help) {
  Key key;
  key.name = name;
  key.kind = KeyKind::kWord;
  key.default_value = words.front();
  key.words = std::move(words);
  key.help = help;
  return key;
}

Key sparsity_key() {
  Key key =
      number_key("sparsity", KeyKind::kReal, std::numeric_limits<double>::quiet_NaN(), 0,
                 "share of the weights (skip_x: of x) to prune; keep: the zeros that are there");
  key.nan_word = "keep";
  key.max = 1;
  return key;
}

std::vector<Key> make_keys() {
  const std::int64_t one = 1;
  return {
      number_key("M", KeyKind::kSize, one, 0, "rows of x and y: tokens"),
      number_key("N", KeyKind::kSize, one, 0, "rows of w, columns of y: output features"),
      number_key("K", KeyKind::kSize, one, 0, "columns of x and w: input features"),
      word_key("format",
               {"csr", "sell", "bsr16", "bsr32", "bsr64", "bsr128", "2to4", "bitmap", "skip_x",
                "lowrank"},
               "how the nonzeros are stored"),
      word_key("dtype", {"fp32", "bf16", "fp16"}, "type of x and of the stored weights"),
      sparsity_key(),
      word_key("method", {"magnitude", "magnitude_row", "nm", "soft_threshold", "svd"},
               "which weights go; svd: factors of lowrank from w"),
      number_key("n", KeyKind::kSize, std::int64_t{2}, 0, "method nm: weights that stay"),
      number_key("m", KeyKind::kSize, std::int64_t{4}, 1, "method nm: of so many in a row"),
      number_key("theta", KeyKind::kReal, 0.0, 0, "method soft_threshold: the threshold"),
      number_key("rank", KeyKind::kInteger, std::int64_t{-1}, -1,
                 "lowrank: rank of A and B; -1: that of a and b, or a quarter of min(N, K)"),
      word_key("activation", activation_words(), "function applied after the bias, in fp32"),
      word_key("out_dtype", {"fp32", "bf16", "fp16"}, "type of y"),
      word_key("bias", {"none", "present"}, "whether a bias is added"),
  };
}

const std::array<std::string, kSparseSlotCount> kSlotNames = {
    "x", "values", "index", "offset", "meta", "row", "row_length", "w", "a", "b", "bias"};

// The last two are those of Matrix Market and of .smtx files.
const std::array<std::string, 7> kInputNames = {"x", "w", "bias", "a", "b", "matrix", "pattern"};

DType dtype_of(const std::string& word) {
  if (word == "bf16") return DType::kBf16;
  return word == "fp16" ? DType::kF16 : DType::kF32;
}

void check_pruning(const Problem& problem, const SparseProblem& p, const SparsePruning& pruning) {
  using Method = SparsePruning::Method;
  const std::string& method = problem.word("method");
  const bool low_rank = p.format == SparseFormat::kLowRank;
  if (pruning.method == Method::kSvd && !low_rank) {
    throw InputError(fmt::format("method = svd with format = {}: it factors W for format = lowrank",
                                 problem.word("format")));
  }
  if (low_rank && (pruning.method == Method::kNm || pruning.method == Method::kSoftThreshold)) {
    throw InputError(
        fmt::format("method = {} with format = lowrank: nothing is pruned there; svd "
                    "factors w, else a and b are used as given",
                    method));
  }
  if (p.format == SparseFormat::k2to4 && !pruning.keep && pruning.sparsity != 0.5) {
    throw InputError(
        fmt::format("sparsity = {} with format = 2to4: 0.5 or keep", pruning.sparsity));
  }
  if (pruning.method != Method::kNm) return;
  if (pruning.n > pruning.m) {
    throw InputError(fmt::format("n = {} is above m = {}", pruning.n, pruning.m));
  }
  const double share = 1 - static_cast<double>(pruning.n) / static_cast<double>(pruning.m);
  if (!pruning.keep && std::abs(pruning.sparsity - share) > 1e-9) {
    throw InputError(
        fmt::format("sparsity = {} with method = nm, n = {}, m = {}: must be keep or {}",
                    pruning.sparsity, pruning.n, pruning.m, share));
  }
}

class SparseOp : public Op {
 public:
  std::string_view name() const override { return "sparse"; }
  std::span<const Key> keys() const override { return keys_; }
  std::span<const std::string> slots() const override { return kSlotNames; }

  void complete(Problem& problem) const override {
    SparseProblem p = SparseProblem::from(problem);
    const SparsePruning pruning = SparsePruning::from(problem);
    check_pruning(problem, p, pruning);
    if (p.K > kLargestK) {
      throw CannotRunError(
          fmt::format("K = {} is above {}: column indices are int32", p.K, kLargestK));
    }
    if (p.format != SparseFormat::kLowRank) return;
    if (problem.size("rank") < 0) problem.set("rank", std::min(p.N, p.K) / 4);
    if (pruning.method == SparsePruning::Method::kSvd && p.rank > std::min(p.N, p.K)) {
      throw InputError(
          fmt::format("rank = {} is above min(N, K) = {}", p.rank, std::min(p.N, p.K)));
    }
  }

  TensorMap draw(const Problem& problem, const Draw& draw) const override {
    return draw_sparse(problem, draw);
  }
  std::span<const std::string> input_names() const override { return kInputNames; }
  void adopt(Problem& problem, TensorMap& inputs) const override { adopt_sparse(problem, inputs); }
  void narrow(const Problem& problem, TensorMap& inputs) const override {
    narrow_sparse(problem, inputs);
  }
  void vary(const Problem& problem, TensorMap& inputs, std::int64_t content) const override {
    vary_sparse(problem, inputs, content);
  }
  Operands encode(const Problem& problem, const TensorMap& inputs) const override {
    return encode_sparse(problem, inputs);
  }
  bool persistent(const Problem& /*problem*/, int slot) const override { return slot != kSparseX; }
  Operands rotated(const Problem& problem, const Operands& operands,
                   std::int64_t by) const override {
    return rotated_sparse(problem, operands, by);
  }

  std::vector<OutputSpec> outputs(const Problem& problem,
                                  const Operands& /*operands*/) const override {
    const SparseProblem p = SparseProblem::from(problem);
    return {{"y", p.out_dtype, Shape{p.M, p.N}}};
  }
  Positions positions(const Problem& problem, const Operands& /*operands*/,
                      std::uint64_t seed) const override {
    const SparseProblem p = SparseProblem::from(problem);
    return {matrix_positions(p.M, p.N, dense_multiply_adds(p), seed)};
  }
  ReferenceTerms reference(const Problem& problem, const Operands& operands,
                           const Positions& positions, int threads) const override {
    return sparse_reference(problem, operands, positions, threads);
  }
  std::vector<std::vector<double>> original(const Problem& problem, const TensorMap& inputs,
                                            const Positions& positions,
                                            int threads) const override {
    return sparse_original(problem, inputs, positions, threads);
  }
  Bounds bound(const Problem& problem, int /*output*/, const Terms& terms,
               const Arithmetic& arithmetic) const override {
    return sparse_bound(SparseProblem::from(problem), terms, arithmetic);
  }

  Work work(const Problem& problem, const Operands& operands) const override {
    return sparse_work(problem, operands);
  }
  Work estimate(const Problem& problem) const override { return sparse_estimate(problem); }

  std::vector<BatteryInput> battery(const Problem& like) const override {
    return sparse_battery(like);
  }
  std::vector<Mutant> mutants(const Problem& like) const override { return sparse_mutants(like); }
  Outputs mutate(std::string_view mutant, const Problem& problem,
                 const Operands& operands) const override {
    return mutate_sparse(mutant, problem, operands);
  }

 private:
  std::vector<Key> keys_ = make_keys();
};

const OpRegistration registration{std::make_unique<SparseOp>()};

}  // namespace

SparseProblem SparseProblem::from(const Problem& problem) {
  SparseProblem p;
  p.M = problem.size("M");
  p.N = problem.size("N");
  p.K = problem.size("K");
  p.rank = std::max<std::int64_t>(problem.size("rank"), 0);
  p.dtype = dtype_of(problem.word("dtype"));
  p.out_dtype = dtype_of(problem.word("out_dtype"));
  p.activation = activation_of(problem.word("activation"));
  p.has_bias = problem.word("bias") == "present";
  const std::string& format = problem.word("format");
  if (format.rfind("bsr", 0) == 0) {
    p.format = SparseFormat::kBsr;
    p.block = std::stoll(format.substr(3));
  } else {
    constexpr std::pair<std::string_view, SparseFormat> kFormats[] = {
        {"csr", SparseFormat::kCsr},      {"sell", SparseFormat::kSell},
        {"2to4", SparseFormat::k2to4},    {"bitmap", SparseFormat::kBitmap},
        {"skip_x", SparseFormat::kSkipX}, {"lowrank", SparseFormat::kLowRank}};
    for (const auto& [name, value] : kFormats) {
      if (format == name) p.format = value;
    }
  }
  return p;
}

SparsePruning SparsePruning::from(const Problem& problem) {
  SparsePruning pruning;
  constexpr std::string_view kMethods[] = {"magnitude", "magnitude_row", "nm", "soft_threshold",
                                           "svd"};
  const auto* const found =
      std::find(std::begin(kMethods), std::end(kMethods), problem.word("method"));
  pruning.method = static_cast<Method>(found - std::begin(kMethods));
  pruning.sparsity = problem.real("sparsity");
  pruning.keep = std::isnan(pruning.sparsity);
  pruning.n = problem.size("n");
  pruning.m = problem.size("m");
  pruning.theta = problem.real("theta");
  return pruning;
}

std::vector<Tensor> sparse_views(const Operands& operands) {
  std::vector<Tensor> views;
  views.reserve(operands.size());
  for (const HostTensor& operand : operands) views.push_back(operand.view());
  return views;
}

}  // namespace pareto
