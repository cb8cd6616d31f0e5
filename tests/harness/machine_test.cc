#include "harness/machine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/errors.h"

namespace pareto {
namespace {

TEST(Machine, HasWhatEveryMachineHas) {
  const Machine& machine = this_machine();
  EXPECT_FALSE(machine.id.empty());
  EXPECT_TRUE(std::all_of(machine.id.begin(), machine.id.end(), [](unsigned char c) {
    return std::islower(c) != 0 || std::isdigit(c) != 0 || c == '_';
  })) << machine.id;
  EXPECT_GE(machine.cores, 1);
  EXPECT_GE(machine.hardware_threads, machine.cores);
  EXPECT_LE(machine.hardware_threads, sysconf(_SC_NPROCESSORS_ONLN));
  EXPECT_EQ(machine.memory_bytes / 4096 / 1024, sysconf(_SC_PHYS_PAGES) / 1024);
  EXPECT_EQ(machine.isa, isa_here());
}

TEST(Machine, PinsEveryThreadToItsOwnCpu) {
  const Machine& machine = this_machine();
  const std::vector<int> all = machine.pinning(machine.hardware_threads);
  EXPECT_EQ(std::set<int>(all.begin(), all.end()).size(), all.size());
  EXPECT_EQ(machine.pinning(1), std::vector<int>{all[0]});
  EXPECT_THROW((void)machine.pinning(0), InputError);
  EXPECT_THROW((void)machine.pinning(machine.hardware_threads + 1), InputError);
}

TEST(Machine, CachesGrowWithTheThreadsThatOwnThem) {
  Machine machine;
  machine.cores = 8;
  machine.caches = {{.level = 1, .bytes = 32 << 10, .instances = 8},
                    {.level = 3, .bytes = 16 << 20, .instances = 2}};
  EXPECT_EQ(machine.cache_bytes(1, 3), 3 * (32 << 10));
  EXPECT_EQ(machine.cache_bytes(1, 100), 8 * (32 << 10));
  EXPECT_EQ(machine.cache_bytes(2, 3), 0);
  EXPECT_EQ(machine.cache_bytes(3, 4), 16 << 20);
  EXPECT_EQ(machine.cache_bytes(3, 5), 32 << 20);
  EXPECT_EQ(machine.last_level_bytes(), 32 << 20);
  machine.caches.clear();
  EXPECT_GT(machine.last_level_bytes(), 32 << 20);  // who hides them may have any
}

TEST(Machine, JsonHoldsTheIsaByName) {
  const nlohmann::json json = this_machine().to_json();
  EXPECT_EQ(json.at("isa").get<std::vector<std::string>>(), isa_names(isa_here()));
  EXPECT_EQ(json.at("cores"), this_machine().cores);
}

TEST(Machine, AvailableMemoryIsPartOfAll) {
  EXPECT_GT(available_memory_bytes(), 0);
  EXPECT_LE(available_memory_bytes(), this_machine().memory_bytes);
}

}  // namespace
}  // namespace pareto
