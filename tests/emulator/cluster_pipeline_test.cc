// The ring of kernels/cuda_pipeline.cuh in a cluster whose blocks load for one another: each
// producer waits until the consumers of all blocks have left a stage, fills its own part of it and
// sends the shared part to every block. Under random schedules; and with one fault each.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <string>
#include <vector>

#include "kernels/cuda_pipeline.cuh"
#include "tests/emulator/barriers.h"

namespace pareto::emulator {
namespace {

using cuda::PipelinePosition;

constexpr int kBlocks = 2;
constexpr int kStages = 3;
constexpr int kConsumers = 2;  // of each block
constexpr int kTiles = 4;
constexpr std::int64_t kStepsPerTile = 4;  // no multiple of the stages
constexpr std::int64_t kOwnBytes = 4096;
constexpr std::int64_t kSharedBytes = 2048;  // that each block sends to all

struct ClusterFaults {
  std::int64_t expected = kOwnBytes + kBlocks * kSharedBytes;
  bool releases_own_block_alone = false;
  int empty_arrivals = kBlocks * kConsumers;
  bool leaves_early = false;  ///< a block ends without waiting for its peers
};

class Cluster {
 public:
  Cluster(const ClusterFaults& faults, std::uint64_t seed)
      : faults_(faults), fibers_(seed), events_(fibers_) {
    for (Block& block : blocks_) {
      block.full.assign(kStages, Mbarrier(1));
      block.empty.assign(kStages, Mbarrier(faults.empty_arrivals));
      for (auto& part : block.contents) part.assign(kStages, -1);
      block.products.resize(kConsumers);
    }
  }

  /// "", "deadlock", "corrupt" or "gone": something reached a block that had ended.
  std::string run() {
    try {
      fibers_.run(
          kBlocks * (kConsumers + 1), [this](int fiber) { thread(fiber); },
          [this] { return events_.happen(); });
      while (events_.happen()) {
      }
    } catch (const Deadlock&) {
      return "deadlock";
    }
    if (reached_after_end_) return "gone";
    return corrupt_ ? "corrupt" : "";
  }

 private:
  struct Product {
    int stage;
    std::int64_t step;
  };
  struct Block {
    std::vector<Mbarrier> full;
    std::vector<Mbarrier> empty;
    /// Step whose data lie in each stage: the own part, then what each block has sent.
    std::array<std::vector<std::int64_t>, kBlocks + 1> contents;
    std::vector<std::deque<Product>> products;
    int threads_at_end = 0;
  };
  struct ProducerRing {
    Cluster& c;
    int block;
    std::int64_t first;
    void wait_empty(int stage, std::uint32_t parity) {
      c.wait(c.of(block).empty[static_cast<std::size_t>(stage)], parity);
    }
    void load(int stage, std::int64_t step) { c.load(block, stage, first + step); }
  };
  struct ConsumerRing {
    Cluster& c;
    int block;
    int consumer;
    std::int64_t first;
    void wait_full(int stage, std::uint32_t parity) {
      c.wait(c.of(block).full[static_cast<std::size_t>(stage)], parity);
    }
    void multiply(int stage, std::int64_t step) {
      c.start_product(block, consumer, stage, first + step);
    }
    void wait_products(int running) {
      c.fibers_.wait_until([this, running] {
        return static_cast<int>(c.of(block).products[static_cast<std::size_t>(consumer)].size()) <=
               running;
      });
    }
    void release(int stage) { c.release(block, stage); }
  };

  Block& of(int block) { return blocks_[static_cast<std::size_t>(block)]; }
  [[nodiscard]] bool ended(const Block& block) const {
    const bool all_there = std::all_of(blocks_.begin(), blocks_.end(), [](const Block& b) {
      return b.threads_at_end == kConsumers + 1;
    });
    return faults_.leaves_early ? block.threads_at_end == kConsumers + 1 : all_there;
  }

  void thread(int fiber) {
    const int block = fiber / (kConsumers + 1);
    const int role = fiber % (kConsumers + 1);
    PipelinePosition at;
    for (std::int64_t tile = 0; tile < kTiles; ++tile) {
      const std::int64_t first = tile * kStepsPerTile;
      if (role == kConsumers) {
        ProducerRing ring{*this, block, first};
        cuda::produce(ring, at, kStepsPerTile, kStages);
      } else {
        ConsumerRing ring{*this, block, role, first};
        cuda::consume(ring, at, kStepsPerTile, kStages);
      }
    }
    ++of(block).threads_at_end;
    fibers_.wait_until([this, block] { return ended(of(block)); });
  }

  void wait(const Mbarrier& barrier, std::uint32_t parity) {
    fibers_.wait_until([&barrier, parity] { return barrier.is_over(parity); });
  }

  void load(int from, int stage, std::int64_t step) {
    const auto s = static_cast<std::size_t>(stage);
    of(from).full[s].arrive_and_expect(faults_.expected);
    events_.add([this, from, s, step] {
      of(from).contents[0][s] = step;
      of(from).full[s].complete(kOwnBytes);
    });
    for (int to = 0; to < kBlocks; ++to) {
      events_.add([this, from, to, s, step] {
        if (ended(of(to))) reached_after_end_ = true;
        of(to).contents[static_cast<std::size_t>(from) + 1][s] = step;
        of(to).full[s].complete(kSharedBytes);
      });
    }
  }

  void release(int from, int stage) {
    for (int to = 0; to < kBlocks; ++to) {
      if (faults_.releases_own_block_alone && to != from) continue;
      if (ended(of(to))) reached_after_end_ = true;
      of(to).empty[static_cast<std::size_t>(stage)].arrive();
    }
  }

  void start_product(int block, int consumer, int stage, std::int64_t step) {
    auto& running = of(block).products[static_cast<std::size_t>(consumer)];
    running.push_back({stage, step});
    events_.add([this, block, &running] {
      const Product product = running.front();
      running.pop_front();
      for (const auto& part : of(block).contents) {
        if (part[static_cast<std::size_t>(product.stage)] != product.step) corrupt_ = true;
      }
    });
  }

  ClusterFaults faults_;
  Fibers fibers_;
  Events events_;
  std::array<Block, kBlocks> blocks_;
  bool corrupt_ = false;
  bool reached_after_end_ = false;
};

constexpr std::int64_t kSchedules = 200;

std::int64_t count_of(const ClusterFaults& faults, const std::string& outcome) {
  std::int64_t count = 0;
  for (std::int64_t seed = 0; seed < kSchedules; ++seed) {
    if (Cluster(faults, static_cast<std::uint64_t>(seed)).run() == outcome) ++count;
  }
  return count;
}

TEST(ClusterPipeline, WorksUnderEverySchedule) { EXPECT_EQ(count_of({}, ""), kSchedules); }

TEST(ClusterPipeline, ExpectingTheOwnLoadsAloneIsFound) {
  EXPECT_EQ(count_of({.expected = kOwnBytes + kSharedBytes}, ""), 0);
}

TEST(ClusterPipeline, ReleasingTheOwnBlockAloneHangs) {
  EXPECT_EQ(count_of({.releases_own_block_alone = true}, "deadlock"), kSchedules);
}

TEST(ClusterPipeline, LoadingIntoABlockThatStillReadsIsFound) {
  const ClusterFaults faults{.releases_own_block_alone = true, .empty_arrivals = kConsumers};
  EXPECT_GT(count_of(faults, "corrupt") + count_of(faults, "deadlock"), kSchedules / 2);
}

TEST(ClusterPipeline, EndingBeforeThePeersIsFound) {
  EXPECT_GT(count_of({.leaves_early = true}, "gone"), kSchedules / 2);
}

}  // namespace
}  // namespace pareto::emulator
