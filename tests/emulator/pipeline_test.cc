// The barrier scheme of kernels/cuda_pipeline.cuh: one producer, several consumers, several tiles,
// under random schedules; and schemes with one fault each, which must be found out.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "kernels/cuda_pipeline.cuh"
#include "tests/emulator/barriers.h"

namespace pareto::emulator {
namespace {

using cuda::PipelinePosition;

constexpr int kStages = 3;
constexpr int kConsumers = 2;
constexpr int kTiles = 4;
constexpr std::int64_t kStepsPerTile = 4;  // no multiple of the stages
constexpr std::int64_t kBoxBytes = 4096;

/// How one scheme differs from the right one.
struct Faults {
  bool resets_position = false;     ///< between tiles
  bool same_parity = false;         ///< the producer waits for its phase, not the opposite
  std::int64_t expected_extra = 0;  ///< bytes
  int empty_arrivals = kConsumers;
  bool releases_early = false;    ///< before the products are waited for
  bool keeps_last_stage = false;  ///< never releases the last one of a tile
};

class Scheme {
 public:
  Scheme(const Faults& faults, std::uint64_t seed)
      : faults_(faults),
        fibers_(seed),
        events_(fibers_),
        full_(kStages, Mbarrier(1)),
        empty_(kStages, Mbarrier(faults.empty_arrivals)),
        contents_(kStages, -1),
        products_(kConsumers) {}

  /// "", "deadlock" or "corrupt".
  std::string run() {
    try {
      fibers_.run(
          kConsumers + 1,
          [this](int fiber) {
            if (fiber == kConsumers) {
              produce_all();
            } else {
              consume_all(fiber);
            }
          },
          [this] { return events_.happen(); });
    } catch (const Deadlock&) {
      return "deadlock";
    }
    return corrupt_ ? "corrupt" : "";
  }

 private:
  struct ProducerRing {
    Scheme& s;
    std::int64_t first;
    void wait_empty(int stage, std::uint32_t parity) {
      const std::uint32_t waited = s.faults_.same_parity ? parity ^ 1U : parity;
      s.wait(s.empty_[static_cast<std::size_t>(stage)], waited);
    }
    void load(int stage, std::int64_t step) { s.load(stage, first + step); }
  };
  struct ConsumerRing {
    Scheme& s;
    int consumer;
    std::int64_t first;
    std::int64_t steps_left = kStepsPerTile;
    void wait_full(int stage, std::uint32_t parity) {
      s.wait(s.full_[static_cast<std::size_t>(stage)], parity);
    }
    void multiply(int stage, std::int64_t step) {
      s.start_product(consumer, stage, first + step);
      if (s.faults_.releases_early) s.empty_[static_cast<std::size_t>(stage)].arrive();
    }
    void wait_products(int running) {
      s.fibers_.wait_until([this, running] {
        return static_cast<int>(s.products_[static_cast<std::size_t>(consumer)].size()) <= running;
      });
    }
    void release(int stage) {
      const bool last = --steps_left == 0;
      if (s.faults_.releases_early || (last && s.faults_.keeps_last_stage)) return;
      s.empty_[static_cast<std::size_t>(stage)].arrive();
    }
  };
  struct Product {
    int stage;
    std::int64_t step;
  };

  void produce_all() {
    PipelinePosition at;
    for (std::int64_t tile = 0; tile < kTiles; ++tile) {
      if (faults_.resets_position) at = {};
      ProducerRing ring{*this, tile * kStepsPerTile};
      cuda::produce(ring, at, kStepsPerTile, kStages);
    }
  }
  void consume_all(int consumer) {
    PipelinePosition at;
    for (std::int64_t tile = 0; tile < kTiles; ++tile) {
      if (faults_.resets_position) at = {};
      ConsumerRing ring{*this, consumer, tile * kStepsPerTile};
      cuda::consume(ring, at, kStepsPerTile, kStages);
    }
  }

  void wait(const Mbarrier& barrier, std::uint32_t parity) {
    fibers_.wait_until([&barrier, parity] { return barrier.is_over(parity); });
  }

  // Two boxes, as of x and w; each overwrites the stage when it arrives.
  void load(int stage, std::int64_t step) {
    Mbarrier& barrier = full_[static_cast<std::size_t>(stage)];
    barrier.arrive_and_expect(2 * kBoxBytes + faults_.expected_extra);
    for (int box = 0; box < 2; ++box) {
      events_.add([this, &barrier, stage, step] {
        contents_[static_cast<std::size_t>(stage)] = step;
        barrier.complete(kBoxBytes);
      });
    }
  }

  // Reads its stage at some time until it is waited for; products of one consumer end in order.
  void start_product(int consumer, int stage, std::int64_t step) {
    products_[static_cast<std::size_t>(consumer)].push_back({stage, step});
    events_.add([this, consumer] {
      std::deque<Product>& running = products_[static_cast<std::size_t>(consumer)];
      const Product product = running.front();
      running.pop_front();
      if (contents_[static_cast<std::size_t>(product.stage)] != product.step) corrupt_ = true;
    });
  }

  Faults faults_;
  Fibers fibers_;
  Events events_;
  std::vector<Mbarrier> full_;
  std::vector<Mbarrier> empty_;
  std::vector<std::int64_t> contents_;  ///< step whose data lie in each stage
  std::vector<std::deque<Product>> products_;
  bool corrupt_ = false;
};

constexpr std::uint64_t kSchedules = 200;

std::int64_t count_of(const Faults& faults, const std::string& outcome) {
  std::int64_t count = 0;
  for (std::uint64_t seed = 0; seed < kSchedules; ++seed) {
    if (Scheme(faults, seed).run() == outcome) ++count;
  }
  return count;
}

TEST(Pipeline, TheSchemeWorksUnderEverySchedule) {
  EXPECT_EQ(count_of({}, ""), static_cast<std::int64_t>(kSchedules));
}

TEST(Pipeline, ResettingThePositionIsFound) {
  EXPECT_EQ(count_of({.resets_position = true}, ""), 0);
}

TEST(Pipeline, AProducerThatWaitsForItsOwnPhaseHangs) {
  EXPECT_EQ(count_of({.same_parity = true}, "deadlock"), static_cast<std::int64_t>(kSchedules));
}

TEST(Pipeline, ExpectingMoreBytesThanComeHangs) {
  EXPECT_EQ(count_of({.expected_extra = 16}, "deadlock"), static_cast<std::int64_t>(kSchedules));
}

TEST(Pipeline, WaitingForMoreArrivalsThanComeHangs) {
  EXPECT_EQ(count_of({.empty_arrivals = kConsumers + 1}, "deadlock"),
            static_cast<std::int64_t>(kSchedules));
}

TEST(Pipeline, WaitingForFewerArrivalsThanComeIsFound) {
  EXPECT_GT(
      count_of({.empty_arrivals = 1}, "corrupt") + count_of({.empty_arrivals = 1}, "deadlock"),
      static_cast<std::int64_t>(kSchedules) / 2);
}

TEST(Pipeline, ReleasingAStageTooEarlyIsFound) {
  EXPECT_GT(count_of({.releases_early = true}, "corrupt"),
            static_cast<std::int64_t>(kSchedules) / 2);
}

TEST(Pipeline, KeepingTheLastStageHangs) {
  EXPECT_EQ(count_of({.keeps_last_stage = true}, "deadlock"),
            static_cast<std::int64_t>(kSchedules));
}

TEST(Mbarriers, AFreshOneHasItsOddPhaseBehindIt) {
  const Mbarrier fresh(1);
  EXPECT_TRUE(fresh.is_over(1));
  EXPECT_FALSE(fresh.is_over(0));
}

}  // namespace
}  // namespace pareto::emulator
