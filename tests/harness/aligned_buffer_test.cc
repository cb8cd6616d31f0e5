#include "harness/aligned_buffer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "harness/errors.h"

namespace pareto {
namespace {

TEST(AlignedBuffer, IsZeroAlignedAndReadableBehindItsEnd) {
  for (const std::int64_t count : {0, 1, 63, 64, 65, 2097151, 2097152, 5000001}) {
    AlignedBuffer<std::uint8_t> buffer(count);
    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0U);
    const std::uint8_t* begin = buffer.data();
    EXPECT_TRUE(std::all_of(begin, begin + count + 64, [](int x) { return x == 0; })) << count;
    std::fill(buffer.span().begin(), buffer.span().end(), std::uint8_t{7});
    EXPECT_EQ(std::count(begin, begin + count, 7), count);
  }
}

TEST(AlignedBuffer, CountsWhatItHolds) {
  const std::size_t before = counted_bytes();
  {
    AlignedBuffer<float> small(10);
    AlignedBuffer<float> big(std::int64_t{1} << 20);
    EXPECT_EQ(counted_bytes() - before, 40U + (std::size_t{4} << 20U));
    AlignedBuffer<float> moved = std::move(big);
    EXPECT_EQ(counted_bytes() - before, 40U + (std::size_t{4} << 20U));
  }
  EXPECT_EQ(counted_bytes(), before);
}

TEST(AlignedBuffer, ImpossibleSizesAreMachineErrors) {
  EXPECT_THROW(AlignedBuffer<float>(std::int64_t{1} << 60), MachineError);
  EXPECT_THROW(AlignedBuffer<std::uint8_t>(-1), MachineError);
}

}  // namespace
}  // namespace pareto
