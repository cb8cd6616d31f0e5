#include "harness/sign_flips.h"

#include <gtest/gtest.h>

#include "harness/contents.h"
#include "harness/registry.h"

namespace pareto {
namespace {

TEST(SignFlips, ChangeOneElementOfEveryFloat) {
  for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF16, DType::kE4m3, DType::kE5m2}) {
    HostTensor tensor(dtype, {3});
    for (std::size_t i = 0; i < tensor.view().bytes(); ++i) tensor.view().data[i] = std::byte{0x3C};
    const double before = tensor.value(1);
    EXPECT_TRUE(has_signs(tensor.view()));
    flip_sign(tensor.view(), 1);
    EXPECT_EQ(tensor.value(0), before);
    EXPECT_EQ(tensor.value(1), -before);
    EXPECT_EQ(tensor.value(2), before);
  }
  EXPECT_FALSE(has_signs(HostTensor(DType::kS8, {3}).view()));
}

TEST(SignFlips, ADiagonalChangesOneElementOfEveryRow) {
  HostTensor tensor(DType::kF32, {2, 3, 5});
  for (float& value : tensor.span<float>()) value = 1;
  const Diagonal diagonal{.column = 3, .stride = 4};
  EXPECT_EQ(row_length(tensor.view()), 5);
  flip_diagonal(tensor.view(), diagonal);
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    const bool flipped = i % 5 == (3 + i / 5 * 4) % 5;
    EXPECT_EQ(tensor.value(i), flipped ? -1 : 1) << i;
  }
  flip_diagonal(tensor.view(), diagonal);
  for (std::int64_t i = 0; i < tensor.elements(); ++i) EXPECT_EQ(tensor.value(i), 1) << i;
}

TEST(SignFlips, AColumnIsOneRow) {
  EXPECT_EQ(row_length(HostTensor(DType::kF32, {7, 1}).view()), 7);
  EXPECT_EQ(row_length(HostTensor(DType::kF32, {7}).view()), 7);
}

TEST(Contents, TheLastIsTheTwinOfTheFirst) {
  Problem problem(find_op("qgemm"));
  problem.set("M", std::int64_t{3}).set("N", std::int64_t{4}).set("K", std::int64_t{5});
  problem.op().complete(problem);
  Contents contents(problem, {.distribution = "normal", .seed = 7}, 3, 1);
  EXPECT_EQ(contents.twin_of(0), 2);
  EXPECT_EQ(contents.twin_of(1), -1);
  EXPECT_EQ(contents.twin_of(2), 0);
  const FlipPlace& place = contents.twin_place();
  const auto slot = static_cast<std::size_t>(place.slot);
  const HostTensor& first = contents.operands(0)[slot];
  const HostTensor& twin = contents.operands(2)[slot];
  for (std::int64_t i = 0; i < first.elements(); ++i) {
    EXPECT_EQ(twin.value(i), i == place.element ? -first.value(i) : first.value(i));
  }
  EXPECT_NE(first.value(place.element), 0);
}

}  // namespace
}  // namespace pareto
