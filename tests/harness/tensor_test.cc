#include "harness/tensor.h"

#include <gtest/gtest.h>

#include "harness/errors.h"

namespace pareto {
namespace {

constexpr std::int64_t kHuge = std::int64_t{1} << 32;

TEST(Shape, MoreElementsThanCanBeCountedAreOutOfMemory) {
  try {
    const Shape shape{kHuge, kHuge};
    FAIL() << shape.elements() << " elements";
  } catch (const MachineError& error) {
    EXPECT_STREQ(error.what(), "out of memory: a tensor of [4294967296, 4294967296] elements");
  }
  EXPECT_THROW((Shape{kHuge, kHuge / 4}), MachineError) << "their bytes cannot be counted";
}

TEST(Shape, NothingIsNeverTooMuch) {
  EXPECT_EQ((Shape{kHuge, 0}).elements(), 0);
  EXPECT_EQ((Shape{kHuge, kHuge, 0}).elements(), 0);
  EXPECT_EQ((Shape{kHuge, kHuge / 64}).elements(), kHuge / 64 * kHuge);
}

}  // namespace
}  // namespace pareto
