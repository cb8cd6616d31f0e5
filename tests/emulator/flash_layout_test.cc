// Shared memory and barriers of attention/cuda_flash_wgmma: what TMA writes is what wgmma finds,
// and the order of work ends and sees the right tiles under random schedules; with one fault each
// they do not.
#include "kernels/attention/flash_layout.cuh"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <string>

#include "tests/emulator/barriers.h"

namespace pareto::emulator {
namespace {

using cuda::FlashOverlapped;
using cuda::FlashStep;
using cuda::FlashWgmmaTile;
using cuda::MatrixDescriptor;
using cuda::PipelinePosition;

/// Row and element of the head by address in shared memory, as boxes of 64 elements × `rows` write
/// them: line by line, swizzled.
template <typename Tile>
using Written = std::map<std::uint32_t, std::pair<int, int>>;
template <typename Tile>
void write_box(Written<Tile>& to, std::uint32_t panel_at, int rows, int panel) {
  EXPECT_EQ(panel_at % 1024, 0U);
  for (int row = 0; row < rows; ++row) {
    for (int element = 0; element < Tile::kPanelElements; ++element) {
      const std::uint32_t linear =
          panel_at + static_cast<std::uint32_t>(row * Tile::kSpan + 2 * element);
      const bool first = to.emplace(cuda::swizzled(linear, Tile::kSwizzle),
                                    std::pair(row, panel * Tile::kPanelElements + element))
                             .second;
      EXPECT_TRUE(first) << "written twice";
    }
  }
}

template <typename Tile>
void expect_k_major(const Written<Tile>& written, const MatrixDescriptor& d, int rows, int k16) {
  for (int row = 0; row < rows; ++row) {
    for (int k = 0; k < 16; ++k) {
      const auto found = written.find(cuda::k_major_address(d, row, 2 * k));
      ASSERT_NE(found, written.end());
      EXPECT_EQ(found->second, std::pair(row, 16 * k16 + k));
    }
  }
}

template <typename Tile>
void expect_operands_found() {
  for (int stage = 0; stage < Tile::kStages; ++stage) {
    Written<Tile> written;
    for (int panel = 0; panel < Tile::kPanels; ++panel) {
      write_box<Tile>(written, Tile::stage_panel(stage, panel), Tile::kKeys, panel);
    }
    EXPECT_GE(written.begin()->first, static_cast<std::uint32_t>(Tile::kStagesOffset));
    EXPECT_LT(written.rbegin()->first, static_cast<std::uint32_t>(Tile::kBarrierOffset));
    for (int k16 = 0; k16 < Tile::kDim / 16; ++k16) {
      expect_k_major<Tile>(written, Tile::k_operand(stage, k16), Tile::kKeys, k16);
    }
    for (int k16 = 0; k16 < Tile::kKeys / 16; ++k16) {
      for (int k = 0; k < 16; ++k) {
        for (int n = 0; n < Tile::kDim; ++n) {
          const auto found =
              written.find(cuda::mn_major_address(Tile::v_operand(stage, k16), k, n));
          ASSERT_NE(found, written.end());
          EXPECT_EQ(found->second, std::pair(16 * k16 + k, n));
        }
      }
    }
  }
  for (int consumer = 0; consumer < Tile::kConsumers; ++consumer) {
    Written<Tile> written;
    for (int panel = 0; panel < Tile::kPanels; ++panel) {
      write_box<Tile>(written, Tile::q_panel(consumer, panel), Tile::kConsumerRows, panel);
    }
    EXPECT_LT(written.rbegin()->first, static_cast<std::uint32_t>(Tile::kStagesOffset));
    for (int k16 = 0; k16 < Tile::kDim / 16; ++k16) {
      expect_k_major<Tile>(written, Tile::q_operand(consumer, k16), Tile::kConsumerRows, k16);
    }
  }
  EXPECT_EQ(Tile::kBarrierOffset % 8, 0);
}

TEST(FlashLayout, ProductsFindWhatTmaWrote) {
  expect_operands_found<FlashWgmmaTile<64>>();
  expect_operands_found<FlashWgmmaTile<128>>();
}

TEST(FlashLayout, FitsIntoAMultiprocessor) {
  EXPECT_LE((FlashWgmmaTile<128>::kSharedBytes), 227 * 1024);
  EXPECT_LE((FlashWgmmaTile<128>::kProducerRegisters + 2 * FlashWgmmaTile<128>::kConsumerRegisters),
            504);
}

TEST(FlashOrder, KAndVOfEveryTileComeOnce) {
  for (const std::int64_t tiles : {1, 2, 3, 7}) {
    std::map<std::pair<bool, std::int64_t>, int> count;
    for (std::int64_t index = 0; index < 2 * tiles; ++index) {
      const FlashStep step = FlashOverlapped::step(index, tiles);
      ++count[{step.values, step.tile}];
    }
    ASSERT_EQ(count.size(), static_cast<std::size_t>(2 * tiles));
    EXPECT_EQ(count.begin()->first.second, 0);
    EXPECT_EQ(count.rbegin()->first.second, tiles - 1);
  }
}

constexpr int kStages = 4;
constexpr int kConsumers = 2;
constexpr std::int64_t kBoxBytes = 4096;

/// How a scheme differs from the right one.
struct Faults {
  int empty_arrivals = kConsumers;
  bool same_parity = false;     ///< the producer waits for its phase, not the opposite
  bool waits_for_less = false;  ///< finish<n> leaves one product more running
};

template <typename Order>
class Scheme {
 public:
  Scheme(int tiles, const Faults& faults, std::uint64_t seed)
      : tiles_(tiles),
        faults_(faults),
        fibers_(seed),
        events_(fibers_),
        full_(kStages, Mbarrier(1)),
        empty_(kStages, Mbarrier(faults.empty_arrivals)),
        contents_(kStages, FlashStep{false, -1}),
        running_(kConsumers),
        seen_(kConsumers) {}

  /// "", "deadlock" or "corrupt".
  std::string run() {
    try {
      fibers_.run(
          kConsumers + 1, [this](int fiber) { fiber == kConsumers ? produce() : consume(fiber); },
          [this] { return events_.happen(); });
    } catch (const Deadlock&) {
      return "deadlock";
    }
    for (const auto& [keys, values] : seen_) corrupt_ |= keys != tiles_ || values != tiles_;
    return corrupt_ ? "corrupt" : "";
  }

 private:
  struct Product {
    int stage;
    FlashStep step;
  };
  struct ProducerRing {
    Scheme& s;
    void wait_empty(int stage, std::uint32_t parity) {
      s.wait(s.empty_[static_cast<std::size_t>(stage)],
             s.faults_.same_parity ? parity ^ 1U : parity);
    }
    void load(int stage, std::int64_t index) { s.load(stage, Order::step(index, s.tiles_)); }
  };
  struct ConsumerRing {
    Scheme& s;
    std::size_t consumer;
    int weighed = 0;
    int packed = 0;
    void wait_full(int stage, std::uint32_t parity) {
      s.wait(s.full_[static_cast<std::size_t>(stage)], parity);
    }
    void release(int stage) { s.empty_[static_cast<std::size_t>(stage)].arrive(); }
    void multiply_keys(int stage) {
      s.start(consumer, {stage, {false, s.seen_[consumer].first++}});
    }
    void multiply_values(int stage) {
      s.start(consumer, {stage, {true, s.seen_[consumer].second++}});
      s.corrupt_ |= packed != s.seen_[consumer].second;
    }
    template <int kRunning>
    void finish() {
      const std::size_t most = kRunning + (s.faults_.waits_for_less ? 1 : 0);
      s.fibers_.wait_until([this, most] { return s.running_[consumer].size() <= most; });
    }
    // Touches the logits: their product must be over.
    void weigh(int tile) {
      s.corrupt_ |= tile != weighed++ || s.seen_[consumer].first != weighed;
      for (const Product& product : s.running_[consumer]) s.corrupt_ |= !product.step.values;
    }
    // Touches o and the weights: nothing may run.
    void pack() {
      s.corrupt_ |= !s.running_[consumer].empty();
      ++packed;
    }
  };

  void produce() {
    PipelinePosition at;
    ProducerRing ring{*this};
    cuda::produce(ring, at, 2 * std::int64_t{tiles_}, kStages);
  }
  void consume(int consumer) {
    PipelinePosition at;
    ConsumerRing ring{*this, static_cast<std::size_t>(consumer)};
    Order::attend(ring, at, tiles_, kStages);
  }
  void wait(const Mbarrier& barrier, std::uint32_t parity) {
    fibers_.wait_until([&barrier, parity] { return barrier.is_over(parity); });
  }
  // Two boxes; each overwrites the stage when it arrives.
  void load(int stage, const FlashStep& step) {
    Mbarrier& barrier = full_[static_cast<std::size_t>(stage)];
    barrier.arrive_and_expect(2 * kBoxBytes);
    for (int box = 0; box < 2; ++box) {
      events_.add([this, &barrier, stage, step] {
        contents_[static_cast<std::size_t>(stage)] = step;
        barrier.complete(kBoxBytes);
      });
    }
  }
  // Reads its stage at some time until it is waited for; products of one consumer end in order.
  void start(std::size_t consumer, const Product& product) {
    running_[consumer].push_back(product);
    events_.add([this, consumer] {
      const Product over = running_[consumer].front();
      running_[consumer].pop_front();
      corrupt_ |= contents_[static_cast<std::size_t>(over.stage)] != over.step;
    });
  }

  int tiles_;
  Faults faults_;
  Fibers fibers_;
  Events events_;
  std::vector<Mbarrier> full_;
  std::vector<Mbarrier> empty_;
  std::vector<FlashStep> contents_;
  std::vector<std::deque<Product>> running_;
  std::vector<std::pair<int, int>> seen_;  ///< tiles of K and of V, of each consumer
  bool corrupt_ = false;
};

constexpr std::uint64_t kSchedules = 200;

/// The outcomes of all schedules, each once.
template <typename Order>
std::map<std::string, int> outcomes(int tiles, const Faults& faults) {
  std::map<std::string, int> all;
  for (std::uint64_t seed = 0; seed < kSchedules; ++seed) {
    ++all[Scheme<Order>(tiles, faults, seed).run()];
  }
  return all;
}

template <typename Order>
void expect_right() {
  for (const int tiles : {0, 1, 2, 3, 9}) {
    EXPECT_EQ(outcomes<Order>(tiles, {})[""], static_cast<int>(kSchedules)) << tiles;
  }
}
template <typename Order>
void expect_faults_seen() {
  EXPECT_EQ(outcomes<Order>(9, {.empty_arrivals = kConsumers + 1})["deadlock"],
            static_cast<int>(kSchedules));
  EXPECT_EQ(outcomes<Order>(9, {.same_parity = true})["deadlock"], static_cast<int>(kSchedules));
  EXPECT_LT(outcomes<Order>(9, {.empty_arrivals = kConsumers - 1})[""],
            static_cast<int>(kSchedules) / 2);
  EXPECT_GT(outcomes<Order>(9, {.waits_for_less = true})["corrupt"], 0);
}

TEST(FlashOrder, OverlappedEndsWithTheRightTiles) { expect_right<FlashOverlapped>(); }
TEST(FlashOrder, FaultsOverlappedAreSeen) { expect_faults_seen<FlashOverlapped>(); }

}  // namespace
}  // namespace pareto::emulator
