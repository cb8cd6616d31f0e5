// Original tensors of sparse, as files hold them: validation, sizes, cutting and varying.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "harness/errors.h"
#include "reference/distributions.h"
#include "reference/sparse_parts.h"

namespace pareto {
namespace {

bool holds(const TensorMap& inputs, const char* name) { return inputs.find(name) != inputs.end(); }

HostTensor& find(TensorMap& inputs, const char* name) {
  const auto found = inputs.find(name);
  if (found != inputs.end()) return found->second;
  throw InputError(fmt::format(
      "dataset {} is missing: sparse takes x and w (format = lowrank: or x, a and b)", name));
}

// A matrix file holds w alone: as it is, or only where it is not zero, which is filled with N(0,1).
// x is then drawn, too, unless another file has it.
void complete_matrix(const Problem& problem, TensorMap& inputs) {
  const auto matrix = inputs.find("matrix");
  const auto pattern = inputs.find("pattern");
  if (matrix == inputs.end() && pattern == inputs.end()) return;
  if (holds(inputs, "w")) throw InputError("dataset w is there besides that of a matrix file");
  HostTensor w;
  if (matrix != inputs.end()) {
    w = std::move(matrix->second);
    inputs.erase(matrix);
  } else {
    w = HostTensor(DType::kF32, pattern->second.shape());
    fill_distribution("normal", stream_key(Draw{}, "w"), w.span<float>());
    const std::span<const std::uint8_t> set = pattern->second.span<std::uint8_t>();
    for (std::size_t i = 0; i < set.size(); ++i) {
      float& weight = w.span<float>()[i];
      if (set[i] == 0) weight = 0;
      if (set[i] != 0 && weight == 0) weight = 1;
    }
    inputs.erase(pattern);
  }
  if (!holds(inputs, "x")) {
    HostTensor x(DType::kF32, Shape{problem.size("M"), w.shape()[1]});
    fill_distribution("normal", stream_key(Draw{}, "x"), x.span<float>());
    inputs["x"] = std::move(x);
  }
  inputs["w"] = std::move(w);
}

// 16-bit floats are exact in fp32; anything else but fp32 is refused.
HostTensor& float_tensor(TensorMap& inputs, const char* name, int rank, const char* axes) {
  HostTensor& tensor = find(inputs, name);
  if (tensor.dtype() == DType::kBf16 || tensor.dtype() == DType::kF16) {
    HostTensor wide(DType::kF32, tensor.shape());
    for (std::int64_t i = 0; i < wide.elements(); ++i) {
      wide.span<float>()[static_cast<std::size_t>(i)] = static_cast<float>(tensor.value(i));
    }
    tensor = std::move(wide);
  }
  if (tensor.dtype() != DType::kF32) {
    throw InputError(fmt::format("dataset {} holds {}, but must hold fp32 (or bf16, fp16)", name,
                                 name_of(tensor.dtype())));
  }
  if (tensor.shape().rank() != rank) {
    throw InputError(
        fmt::format("dataset {} has shape {}, but must be {}", name, tensor.shape().text(), axes));
  }
  return tensor;
}

void require_extent(const char* name, const HostTensor& tensor, int axis, const char* what,
                    std::int64_t wanted, const char* whose) {
  if (tensor.shape()[axis] == wanted) return;
  throw InputError(fmt::format("dataset {} has {} = {} ({}), but {} has {} = {}", name, what,
                               tensor.shape()[axis], tensor.shape().text(), whose, what, wanted));
}

// Lowrank takes a and b as given, unless only w is there or method = svd asks for it.
bool takes_factors(const Problem& problem, const TensorMap& inputs) {
  if (problem.word("format") != "lowrank") return false;
  const bool factors = holds(inputs, "a") || holds(inputs, "b");
  if (!holds(inputs, "w")) return factors || problem.word("method") != "svd";
  return factors && problem.word("method") != "svd";
}

void adopt_factors(Problem& problem, TensorMap& inputs, std::int64_t K) {
  if (problem.word("method") == "svd") {
    throw InputError("dataset w is missing: method = svd factors w; without it a and b are used");
  }
  const HostTensor& a = float_tensor(inputs, "a", 2, "[N, rank]");
  const HostTensor& b = float_tensor(inputs, "b", 2, "[rank, K]");
  require_extent("b", b, 1, "K", K, "dataset x");
  require_extent("b", b, 0, "rank", a.shape()[1], "dataset a");
  const std::int64_t rank = problem.size("rank");
  if (rank >= 0) require_extent("a", a, 1, "rank", rank, "the key rank");
  problem.set("N", a.shape()[0]).set("rank", a.shape()[1]);
}

void require_key(const Problem& problem, const char* key, const char* name, std::int64_t extent) {
  // A size that nobody asked for comes from the file.
  if (problem.is_default(key) || problem.size(key) == extent) return;
  throw InputError(fmt::format("{} = {}, but dataset {} has {} = {}", key, problem.size(key), name,
                               key, extent));
}

}  // namespace

void adopt_sparse(Problem& problem, TensorMap& inputs) {
  complete_matrix(problem, inputs);
  const HostTensor& x = float_tensor(inputs, "x", 2, "[M, K]");
  const std::int64_t K = x.shape()[1];
  problem.set("M", x.shape()[0]).set("K", K);
  if (takes_factors(problem, inputs)) {
    adopt_factors(problem, inputs, K);
  } else {
    const HostTensor& w = float_tensor(inputs, "w", 2, "[N, K]");
    require_extent("w", w, 1, "K", K, "dataset x");
    problem.set("N", w.shape()[0]);
    if (problem.word("format") == "lowrank") {
      if (problem.size("rank") < 0) {
        throw InputError(
            "rank is missing: format = lowrank makes a and b of dataset w with that rank");
      }
      problem.set("method", std::string("svd"));
    }
  }
  const bool bias = holds(inputs, "bias");
  problem.set("bias", std::string(bias ? "present" : "none"));
  if (!bias) return;
  const HostTensor& values = float_tensor(inputs, "bias", 1, "[N], one element per row of w");
  require_extent("bias", values, 0, "N", problem.size("N"), "the weight");
}

void narrow_sparse(const Problem& problem, TensorMap& inputs) {
  complete_matrix(problem, inputs);
  HostTensor& x = float_tensor(inputs, "x", 2, "[M, K]");
  require_key(problem, "K", "x", x.shape()[1]);
  if (holds(inputs, "w")) require_key(problem, "N", "w", find(inputs, "w").shape()[0]);
  const std::int64_t M = problem.size("M");
  if (M > x.shape()[0]) {
    throw InputError(fmt::format("M = {} is above the {} rows of dataset x", M, x.shape()[0]));
  }
  HostTensor first(DType::kF32, Shape{M, x.shape()[1]});
  if (first.elements() > 0) std::memcpy(first.view().data, x.view().data, first.view().bytes());
  x = std::move(first);
}

void vary_sparse(const Problem& problem, TensorMap& inputs, std::int64_t content) {
  const std::int64_t K = problem.size("K");
  if (K == 0) return;
  const std::span<float> x = find(inputs, "x").span<float>();
  for (std::int64_t m = 0; m < problem.size("M"); ++m) {
    float* row = x.data() + m * K;
    std::rotate(row, row + content % K, row + K);
  }
}

}  // namespace pareto
