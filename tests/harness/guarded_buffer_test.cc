#include "harness/guarded_buffer.h"

#include <gtest/gtest.h>

#include <cstring>

#include "harness/crash.h"
#include "harness/poison.h"

namespace pareto {
namespace {

constexpr double kTimeout_s = 20;

GuardedBuffer floats(Layout layout, const Shape& shape = {3, 5}) {
  return {"operand w (slot 1)", DType::kF32, shape, layout};
}

// The child's reads must not be optimised away.
std::string read_at(const GuardedBuffer& buffer, std::ptrdiff_t byte) {
  const volatile auto* data = reinterpret_cast<const volatile char*>(buffer.view().data);
  return std::string(1, data[byte] == 0 ? 'a' : 'b');
}

TEST(GuardedBuffer, FaultsOnOneByteReadPastTheEnd) {
  const GuardedBuffer buffer = floats(Layout::kGuardAfter);
  const ChildResult result = run_isolated([&] { return read_at(buffer, 60); }, kTimeout_s);
  EXPECT_EQ(result.end, ChildEnd::kFault);
  EXPECT_EQ(result.message, "guard: read byte 1 past the end of operand w (slot 1)");
}

TEST(GuardedBuffer, FaultsOnOneByteReadBeforeTheBegin) {
  const GuardedBuffer buffer = floats(Layout::kGuardBefore);
  const ChildResult result = run_isolated([&] { return read_at(buffer, -1); }, kTimeout_s);
  EXPECT_EQ(result.message, "guard: read byte 1 before the begin of operand w (slot 1)");
}

TEST(GuardedBuffer, AllowsEveryByteInside) {
  for (const Layout layout : {Layout::kGuardBefore, Layout::kGuardAfter, Layout::kTimed}) {
    const GuardedBuffer buffer = floats(layout);
    std::memset(buffer.view().data, 1, 60);
    EXPECT_EQ(buffer.damage(), "");
  }
}

TEST(GuardedBuffer, NoticesWritesOnTheUnguardedSides) {
  GuardedBuffer after = floats(Layout::kGuardAfter);
  after.view().data[-1] = std::byte{7};
  EXPECT_EQ(after.damage(), "1 bytes before operand w (slot 1) were overwritten");
  GuardedBuffer timed = floats(Layout::kTimed);
  timed.view().data[60] = std::byte{7};
  EXPECT_EQ(timed.damage(), "1 bytes behind operand w (slot 1) were overwritten");
}

TEST(GuardedBuffer, NoticesWritesAroundHugeBuffers) {
  GuardedBuffer buffer = floats(Layout::kTimed, {1024, 1024});
  std::memset(buffer.view().data, 1, buffer.view().bytes());
  EXPECT_EQ(buffer.damage(), "");
  buffer.view().data[buffer.view().bytes()] = std::byte{7};
  EXPECT_NE(buffer.damage(), "");
}

TEST(GuardedBuffer, NamesOperandsChangedInPlace) {
  GuardedBuffer buffer = floats(Layout::kGuardBefore);
  buffer.allow(Access::kRead);
  const ChildResult result = run_isolated(
      [&] {
        buffer.view().data[8] = std::byte{1};
        return std::string();
      },
      kTimeout_s);
  EXPECT_EQ(result.message, "operands: operand w (slot 1) was changed in place (byte 8)");
}

TEST(GuardedBuffer, NamesReadsOfOperandsThatRunMustNotSee) {
  GuardedBuffer buffer = floats(Layout::kGuardAfter);
  buffer.allow(Access::kNone);
  const ChildResult result = run_isolated([&] { return read_at(buffer, 4); }, kTimeout_s);
  EXPECT_EQ(result.message,
            "operands: read byte 4 of operand w (slot 1), which run must not see (keeps_operands "
            "is not declared)");
}

TEST(GuardedBuffer, EmptyTensorHasAPointerButNoByte) {
  const GuardedBuffer buffer = floats(Layout::kGuardAfter, {0, 5});
  EXPECT_NE(buffer.view().data, nullptr);
  const ChildResult result = run_isolated([&] { return read_at(buffer, 0); }, kTimeout_s);
  EXPECT_EQ(result.end, ChildEnd::kFault);
}

TEST(GuardedBuffer, HashFollowsContents) {
  GuardedBuffer buffer = floats(Layout::kTimed);
  const std::uint64_t before = buffer.content_hash();
  buffer.view().data[59] ^= std::byte{1};
  EXPECT_NE(buffer.content_hash(), before);
}

TEST(Poison, ShowsElementsThatWereNotWritten) {
  for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF16, DType::kS32, DType::kF64}) {
    HostTensor output(dtype, {4});
    poison(output.view());
    std::int64_t first = -1;
    EXPECT_EQ(count_poison(output.view(), &first), 4) << name_of(dtype);
    std::memset(output.view().data, 0, size_of(dtype));
    EXPECT_EQ(count_poison(output.view(), &first), 3) << name_of(dtype);
    EXPECT_EQ(first, 1) << name_of(dtype);
  }
}

}  // namespace
}  // namespace pareto
