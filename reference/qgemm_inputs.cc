// Original tensors of qgemm, as files hold them: validation, sizes, cutting and varying.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "harness/errors.h"
#include "reference/qgemm_parts.h"

namespace pareto {
namespace {

const HostTensor& find(const TensorMap& inputs, const std::string& name) {
  const auto found = inputs.find(name);
  if (found != inputs.end()) return found->second;
  throw InputError(
      fmt::format("dataset {} is missing: qgemm takes x and w, or x_q, x_scale, w_q "
                  "and w_scale",
                  name));
}

bool holds(const TensorMap& inputs, const std::string& name) {
  return inputs.find(name) != inputs.end();
}

void require_dtype(const std::string& name, const HostTensor& tensor,
                   std::initializer_list<DType> legal) {
  std::string wanted;
  for (const DType dtype : legal) {
    if (tensor.dtype() == dtype) return;
    wanted += (wanted.empty() ? "" : " or ") + std::string(name_of(dtype));
  }
  throw InputError(
      fmt::format("dataset {} holds {}, but must hold {}", name, name_of(tensor.dtype()), wanted));
}

void require_rank(const std::string& name, const HostTensor& tensor, int rank, const char* axes) {
  if (tensor.shape().rank() == rank) return;
  throw InputError(
      fmt::format("dataset {} has shape {}, but must be {}", name, tensor.shape().text(), axes));
}

void require_length(const std::string& name, const HostTensor& tensor, std::int64_t length,
                    const char* axis) {
  if (tensor.shape() == Shape{length}) return;
  throw InputError(fmt::format("dataset {} has shape {}, but must be [{}], one element per {}",
                               name, tensor.shape().text(), length, axis));
}

// 16-bit floats are exact in fp32; anything else stays and is refused by its name.
void widen(TensorMap& inputs) {
  for (const char* name : {"x", "w", "bias", "x_calib", "x_scale", "w_scale"}) {
    const auto found = inputs.find(name);
    if (found == inputs.end()) continue;
    HostTensor& tensor = found->second;
    if (tensor.dtype() != DType::kBf16 && tensor.dtype() != DType::kF16) continue;
    HostTensor wide(DType::kF32, tensor.shape());
    for (std::int64_t i = 0; i < wide.elements(); ++i) {
      wide.view().as<float>()[i] = static_cast<float>(tensor.value(i));
    }
    tensor = std::move(wide);
  }
}

void require_same_k(const std::string& x, const HostTensor& left, const std::string& w,
                    const HostTensor& right) {
  if (left.shape()[1] == right.shape()[1]) return;
  throw InputError(fmt::format("dataset {} has K = {} ({}), but dataset {} has K = {} ({})", w,
                               right.shape()[1], right.shape().text(), x, left.shape()[1],
                               left.shape().text()));
}

void set_sizes(Problem& problem, const HostTensor& x, const HostTensor& w) {
  problem.set("M", x.shape()[0]).set("N", w.shape()[0]).set("K", w.shape()[1]);
}

void adopt_integers(Problem& problem, const TensorMap& inputs) {
  const HostTensor& x = find(inputs, "x_q");
  const HostTensor& w = find(inputs, "w_q");
  require_dtype("x_q", x, {DType::kS8, DType::kU8});
  require_dtype("w_q", w, {DType::kS8});
  require_rank("x_q", x, 2, "[M, K]");
  require_rank("w_q", w, 2, "[N, K]");
  require_same_k("x_q", x, "w_q", w);
  for (const char* name : {"x_scale", "w_scale"}) {
    require_dtype(name, find(inputs, name), {DType::kF32});
  }
  require_length("x_scale", find(inputs, "x_scale"), x.shape()[0], "row of x_q");
  require_length("w_scale", find(inputs, "w_scale"), w.shape()[0], "row of w_q");
  const bool zero = holds(inputs, "x_zero");
  if (zero) {
    require_dtype("x_zero", find(inputs, "x_zero"), {DType::kS32});
    require_length("x_zero", find(inputs, "x_zero"), x.shape()[0], "row of x_q");
  }
  set_sizes(problem, x, w);
  problem.set("operands", std::string(x.dtype() == DType::kU8 ? "u8" : "s8"));
  problem.set("x_zero", std::string(zero ? "present" : "none"));
  const std::string& scheme = problem.word("scheme");
  if (!problem.is_default("scheme") && scheme.rfind("w8a8", 0) != 0) {
    throw InputError(fmt::format(
        "scheme = {} does not go with integer datasets x_q and w_q: leave it out or say w8a8",
        scheme));
  }
  problem.set("scheme", std::string("w8a8"));
}

void adopt_floats(Problem& problem, const TensorMap& inputs) {
  const HostTensor& x = find(inputs, "x");
  const HostTensor& w = find(inputs, "w");
  require_dtype("x", x, {DType::kF32});
  require_dtype("w", w, {DType::kF32});
  require_rank("x", x, 2, "[M, K]");
  require_rank("w", w, 2, "[N, K]");
  require_same_k("x", x, "w", w);
  set_sizes(problem, x, w);
  problem.set("operands", std::string("float")).set("x_zero", std::string("none"));
  if (problem.word("scheme") == "w8a8_static") {
    if (!holds(inputs, "x_calib")) {
      throw InputError("dataset x_calib is missing: scheme w8a8_static takes its scale from it");
    }
    require_dtype("x_calib", find(inputs, "x_calib"), {DType::kF32});
  }
}

// Rows [0, rows) of a tensor.
HostTensor first_rows(const HostTensor& tensor, std::int64_t rows) {
  std::vector<std::int64_t> extents;
  for (int axis = 0; axis < tensor.shape().rank(); ++axis) extents.push_back(tensor.shape()[axis]);
  extents[0] = rows;
  HostTensor result(tensor.dtype(), Shape(extents));
  std::memcpy(result.view().data, tensor.view().data, result.view().bytes());
  return result;
}

void require_size(const Problem& problem, const char* key, const std::string& name,
                  std::int64_t extent) {
  if (problem.size(key) == extent) return;
  throw InputError(fmt::format("{} = {}, but dataset {} has {} = {}", key, problem.size(key), name,
                               key, extent));
}

}  // namespace

void adopt_qgemm(Problem& problem, TensorMap& inputs) {
  widen(inputs);
  const bool integers = holds(inputs, "x_q") || holds(inputs, "w_q");
  if (integers && (holds(inputs, "x") || holds(inputs, "w"))) {
    throw InputError("datasets x, w and x_q, w_q exclude one another: float operands or integers");
  }
  integers ? adopt_integers(problem, inputs) : adopt_floats(problem, inputs);
  const bool bias = holds(inputs, "bias");
  problem.set("bias", std::string(bias ? "present" : "none"));
  if (bias) {
    require_dtype("bias", find(inputs, "bias"), {DType::kF32});
    require_length("bias", find(inputs, "bias"), problem.size("N"), "row of w");
  }
}

void narrow_qgemm(const Problem& problem, TensorMap& inputs) {
  widen(inputs);
  const bool integers = holds(inputs, "x_q");
  const std::string x_name = integers ? "x_q" : "x";
  const std::string w_name = integers ? "w_q" : "w";
  require_rank(x_name, find(inputs, x_name), 2, "[M, K]");
  require_rank(w_name, find(inputs, w_name), 2, "[N, K]");
  require_size(problem, "N", w_name, find(inputs, w_name).shape()[0]);
  require_size(problem, "K", w_name, find(inputs, w_name).shape()[1]);
  const std::int64_t M = problem.size("M");
  const std::int64_t rows = find(inputs, x_name).shape()[0];
  if (M > rows) {
    throw InputError(fmt::format("M = {} is above the {} rows of dataset {}", M, rows, x_name));
  }
  if (M == rows) return;
  for (const char* name : {"x", "x_q", "x_scale", "x_zero"}) {
    const auto found = inputs.find(name);
    if (found != inputs.end()) found->second = first_rows(found->second, M);
  }
}

void vary_qgemm(const Problem& problem, TensorMap& inputs, std::int64_t content) {
  const std::int64_t K = problem.size("K");
  if (K == 0) return;
  for (const char* name : {"x", "x_q"}) {
    const auto found = inputs.find(name);
    if (found == inputs.end()) continue;
    const Tensor& x = found->second.view();
    const auto element = static_cast<std::int64_t>(size_of(x.dtype));
    for (std::int64_t m = 0; m < x.shape[0]; ++m) {
      std::byte* row = x.data + m * K * element;
      std::rotate(row, row + content % K * element, row + K * element);
    }
  }
}

}  // namespace pareto
