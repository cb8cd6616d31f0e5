// Short ways to attention problems and inputs, for tests.
#pragma once

#include <initializer_list>
#include <sstream>
#include <string>
#include <vector>

#include "harness/registry.h"

namespace pareto {

/// "key=value …" on top of the defaults, completed.
inline Problem attention_problem(const std::string& settings) {
  Problem problem(find_op("attention"));
  std::istringstream words(settings);
  for (std::string word; words >> word;) {
    const std::size_t equals = word.find('=');
    problem.set_text(word.substr(0, equals), word.substr(equals + 1));
  }
  problem.op().complete(problem);
  return problem;
}

template <typename T>
HostTensor tensor_with(DType dtype, const Shape& shape, std::initializer_list<T> values) {
  HostTensor tensor(dtype, shape);
  std::copy(values.begin(), values.end(), tensor.span<T>().begin());
  return tensor;
}
inline HostTensor floats(const Shape& shape, std::initializer_list<float> values) {
  return tensor_with<float>(DType::kF32, shape, values);
}
inline HostTensor ints(const Shape& shape, std::initializer_list<std::int32_t> values) {
  return tensor_with<std::int32_t>(DType::kS32, shape, values);
}

/// Every element of every output.
inline Positions all_positions(const Problem& problem, const Operands& operands) {
  Positions positions;
  for (const OutputSpec& output : problem.op().outputs(problem, operands)) {
    std::vector<std::int64_t>& list = positions.emplace_back();
    for (std::int64_t i = 0; i < output.shape.elements(); ++i) list.push_back(i);
  }
  return positions;
}

/// o and lse of the reference on these inputs.
inline std::vector<std::vector<double>> reference_values(const Problem& problem,
                                                         const TensorMap& inputs, int threads = 1) {
  const Operands operands = problem.op().encode(problem, inputs);
  const ReferenceTerms terms =
      problem.op().reference(problem, operands, all_positions(problem, operands), threads);
  return {terms[0].column[0], terms[1].column[0]};
}

/// The same from tensors alone, as a file would hold them.
inline std::vector<std::vector<double>> evaluate(TensorMap inputs,
                                                 const std::string& settings = "") {
  Problem problem(find_op("attention"));
  std::istringstream words(settings);
  for (std::string word; words >> word;) {
    const std::size_t equals = word.find('=');
    problem.set_text(word.substr(0, equals), word.substr(equals + 1));
  }
  problem.op().adopt(problem, inputs);
  problem.op().complete(problem);
  return reference_values(problem, inputs);
}

}  // namespace pareto
