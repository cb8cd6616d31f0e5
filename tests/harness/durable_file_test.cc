#include "harness/durable_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "harness/errors.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;

TEST(PendingFile, ThatHasDisappearedIsNotTakenForWritten) {
  const fs::path path =
      fs::temp_directory_path() / ("pareto_durable_" + std::to_string(::getpid()));
  PendingFile pending(path, {});
  fs::remove(pending.temporary());
  EXPECT_FALSE(pending.publish());
  EXPECT_THROW(pending.publish_or_fail(), MachineError);
  EXPECT_FALSE(fs::exists(path));
}

TEST(PendingFile, NeedsAName) { EXPECT_THROW(PendingFile("", {}), InputError); }

}  // namespace
}  // namespace pareto
