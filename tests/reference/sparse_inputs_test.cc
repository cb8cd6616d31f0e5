// Original tensors of sparse as matrix files hold them.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "harness/errors.h"
#include "harness/registry.h"
#include "reference/sparse.h"

namespace pareto {
namespace {

HostTensor tensor(const Shape& shape, const std::vector<float>& values) {
  HostTensor result(DType::kF32, shape);
  std::copy(values.begin(), values.end(), result.span<float>().begin());
  return result;
}

TEST(SparseInputs, MatrixOfAFileIsWAndXIsDrawn) {
  Problem problem(find_op("sparse"));
  problem.set_text("M", "3");
  TensorMap inputs;
  inputs["matrix"] = tensor(Shape{2, 4}, {1, 0, 0, 2, 0, 0, 3, 0});
  problem.op().adopt(problem, inputs);
  EXPECT_EQ(problem.size("N"), 2);
  EXPECT_EQ(problem.size("K"), 4);
  EXPECT_EQ(inputs.at("x").shape(), (Shape{3, 4}));
  EXPECT_EQ(inputs.at("w").span<float>()[3], 2);
  problem.op().complete(problem);
  EXPECT_EQ(problem.op().encode(problem, inputs)[kSparseValues].elements(), 3);
}

TEST(SparseInputs, PatternOfAFileIsFilledWithNonzeros) {
  Problem problem(find_op("sparse"));
  TensorMap inputs;
  inputs["pattern"] = HostTensor(DType::kU8, Shape{2, 2});
  const std::vector<std::uint8_t> set = {1, 0, 0, 1};
  std::copy(set.begin(), set.end(), inputs["pattern"].span<std::uint8_t>().begin());
  inputs["x"] = tensor(Shape{1, 2}, {1, 1});
  problem.op().adopt(problem, inputs);
  const std::span<const float> w = inputs.at("w").span<float>();
  for (std::size_t i = 0; i < set.size(); ++i) EXPECT_EQ(w[i] != 0, set[i] != 0);
  EXPECT_EQ(inputs.at("x").span<float>()[0], 1);
}

TEST(SparseInputs, TwoWeightsAreRefused) {
  Problem problem(find_op("sparse"));
  TensorMap inputs;
  inputs["matrix"] = tensor(Shape{1, 1}, {1});
  inputs["w"] = tensor(Shape{1, 1}, {1});
  EXPECT_THROW(problem.op().adopt(problem, inputs), InputError);
}

}  // namespace
}  // namespace pareto
