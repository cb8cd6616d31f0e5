#include "harness/reference_cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/harness/toy_op.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;

class ReferenceCacheTest : public testing::Test {
 protected:
  ReferenceCacheTest()
      : folder_(fs::temp_directory_path() /
                ("pareto_reference_cache_" + std::to_string(getpid()) + "_" +
                 testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(folder_);
    toy::Op::reference_calls() = 0;
  }
  ~ReferenceCacheTest() override { fs::remove_all(folder_); }

  std::shared_ptr<const ReferenceTerms> ask(ReferenceCache& cache, std::uint64_t seed = 1) {
    const Problem problem(toy::op());
    const Operands operands =
        toy::op().encode(problem, toy::op().draw(problem, {"normal", seed, 0}));
    return cache.terms(problem, operands, toy::op().positions(problem, operands, 1), 1);
  }
  [[nodiscard]] std::vector<fs::path> files() const {
    return {fs::directory_iterator(folder_), fs::directory_iterator()};
  }
  static int computed() { return toy::Op::reference_calls(); }

  fs::path folder_;
  ReferenceCache::Limits all_{.min_compute_s = 0};
};

TEST_F(ReferenceCacheTest, ComputesOncePerContent) {
  ReferenceCache cache(folder_, all_);
  const auto first = ask(cache);
  EXPECT_EQ(ask(cache), first);
  EXPECT_EQ(computed(), 1);
  ask(cache, 2);
  EXPECT_EQ(computed(), 2);
}

TEST_F(ReferenceCacheTest, AnotherProcessFindsItOnDisk) {
  ReferenceCache writer(folder_, all_);
  const auto written = ask(writer);
  ReferenceCache reader(folder_, all_);
  const auto read = ask(reader);
  EXPECT_EQ(computed(), 1);
  ASSERT_EQ(read->size(), written->size());
  EXPECT_EQ((*read)[0].column, (*written)[0].column);
}

TEST_F(ReferenceCacheTest, DamagedFilesAreComputedAgain) {
  ReferenceCache writer(folder_, all_);
  const auto right = ask(writer);
  const fs::path file = files().at(0);
  const auto size = fs::file_size(file);
  const auto flip = [&](std::uintmax_t at) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put('\x5A');
  };
  for (std::uintmax_t at = 0; at < size; at += size / 7) {
    flip(at);
    ReferenceCache reader(folder_, all_);
    ASSERT_EQ((*ask(reader))[0].column, (*right)[0].column) << at;
  }
  for (const std::uintmax_t kept : {std::uintmax_t{0}, std::uintmax_t{9}, size - 1}) {
    fs::resize_file(file, kept);
    ReferenceCache reader(folder_, all_);
    ASSERT_EQ((*ask(reader))[0].column, (*right)[0].column) << kept;
  }
}

TEST_F(ReferenceCacheTest, DoesWithoutAFolder) {
  fs::create_directories(folder_.parent_path());
  std::ofstream(folder_) << "a file where the folder should be";
  ReferenceCache cache(folder_, all_);
  EXPECT_NE(ask(cache), nullptr);
  ReferenceCache memory_only("", all_);
  EXPECT_NE(ask(memory_only), nullptr);
}

TEST_F(ReferenceCacheTest, KeepsToItsDiskLimit) {
  all_.disk_bytes = 1000;  // each result takes some 400 bytes
  ReferenceCache cache(folder_, all_);
  for (std::uint64_t seed = 1; seed <= 10; ++seed) ask(cache, seed);
  std::uintmax_t total = 0;
  for (const fs::path& file : files()) total += fs::file_size(file);
  EXPECT_LE(total, 1000U);
  EXPECT_GE(files().size(), 1U);
}

TEST_F(ReferenceCacheTest, ForgetsTheOldestInMemory) {
  all_.memory_bytes = 1000;
  ReferenceCache cache("", all_);
  for (std::uint64_t seed = 1; seed <= 4; ++seed) ask(cache, seed);
  ask(cache, 4);
  EXPECT_EQ(computed(), 4);
  ask(cache, 1);
  EXPECT_EQ(computed(), 5);
}

TEST_F(ReferenceCacheTest, CheapResultsStayOffTheDisk) {
  ReferenceCache cache(folder_);
  ask(cache);
  EXPECT_TRUE(files().empty());
}

TEST_F(ReferenceCacheTest, OriginalsAreRememberedApart) {
  ReferenceCache cache(folder_, all_);
  const Problem problem(toy::op());
  const TensorMap inputs = toy::op().draw(problem, {"normal", 1, 0});
  const Positions positions = toy::op().positions(problem, {}, 1);
  const auto values = cache.original(problem, inputs, positions, 1);
  EXPECT_EQ(values->at(0), (*ask(cache))[0].column[0]);
  cache.original(problem, inputs, positions, 1);
  EXPECT_EQ(computed(), 2);
}

TEST_F(ReferenceCacheTest, ServesSeveralThreads) {
  ReferenceCache cache(folder_, {.min_compute_s = 0});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&cache] {
      const Problem problem(toy::op());
      const Positions positions = toy::op().positions(problem, {}, 1);
      for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const Operands operands =
            toy::op().encode(problem, toy::op().draw(problem, {"normal", seed, 0}));
        ASSERT_EQ(cache.terms(problem, operands, positions, 1)->size(), 1U);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace pareto
