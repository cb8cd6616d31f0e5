// Shared memory and barriers of attention/cuda_flash_wgmma: what TMA writes is what wgmma finds,
// and the order of work ends and sees the right tiles under random schedules; with one fault each
// they do not.
#include "kernels/attention/flash_layout.cuh"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/emulator/barriers.h"

namespace pareto::emulator {
namespace {

using cuda::FlashOverlapped;
using cuda::FlashStep;
using cuda::FlashWgmmaTile;
using cuda::FlashWork;
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
  std::map<std::uint32_t, int> of_q;  // by address, which rows
  for (int rows = 0; rows < Tile::kQBuffers * Tile::kConsumers; ++rows) {
    const int buffer = rows / Tile::kConsumers;
    const int consumer = rows % Tile::kConsumers;
    Written<Tile> written;
    for (int panel = 0; panel < Tile::kPanels; ++panel) {
      write_box<Tile>(written, Tile::q_panel(buffer, consumer, panel), Tile::kConsumerRows, panel);
    }
    EXPECT_LT(written.rbegin()->first, static_cast<std::uint32_t>(Tile::kStagesOffset));
    for (const auto& [address, element] : written) EXPECT_TRUE(of_q.emplace(address, rows).second);
    for (int k16 = 0; k16 < Tile::kDim / 16; ++k16) {
      expect_k_major<Tile>(written, Tile::q_operand(buffer, consumer, k16), Tile::kConsumerRows,
                           k16);
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

TEST(FlashOrder, BlocksShareOutTheTiles) {
  for (const std::int64_t tiles : {0, 1, 5, 6, 7, 24, 512}) {
    for (const std::int64_t blocks : {1, 6, 132, 600}) {
      std::set<std::int64_t> seen;
      for (std::int64_t block = 0; block < blocks; ++block) {
        const FlashWork work{tiles, blocks, block};
        for (std::int64_t round = 0; round < work.rounds(); ++round) {
          if (work.tile(round) >= tiles) continue;
          EXPECT_TRUE(seen.insert(work.tile(round)).second);
        }
      }
      EXPECT_EQ(seen.size(), static_cast<std::size_t>(tiles));
    }
  }
}

constexpr int kStages = 4;
constexpr int kQBuffers = 2;
constexpr int kConsumers = 2;
constexpr std::int64_t kBoxBytes = 4096;

/// How a scheme differs from the right one.
struct Faults {
  int empty_arrivals = kConsumers;
  int q_arrivals = kConsumers;
  bool same_parity = false;     ///< the producer waits for its phase, not the opposite
  bool same_q_parity = false;   ///< as it does for q
  bool takes_q_early = false;   ///< consumers do not wait for q
  bool waits_for_less = false;  ///< finish<n> leaves one product more running
};

/// A block whose tiles of q see so many tiles of keys each.
class Scheme {
 public:
  Scheme(std::vector<int> tiles, const Faults& faults, std::uint64_t seed)
      : tiles_(std::move(tiles)),
        faults_(faults),
        fibers_(seed),
        events_(fibers_),
        full_(kStages, Mbarrier(1)),
        empty_(kStages, Mbarrier(faults.empty_arrivals)),
        q_full_(kQBuffers, Mbarrier(1)),
        q_empty_(kQBuffers, Mbarrier(faults.q_arrivals)),
        contents_(kStages, Content{-1, {}}),
        q_contents_(kQBuffers, -1),
        running_(kConsumers),
        stored_(kConsumers) {}

  /// "", "deadlock" or "corrupt".
  std::string run() {
    try {
      fibers_.run(
          kConsumers + 1, [this](int fiber) { fiber == kConsumers ? produce() : consume(fiber); },
          [this] { return events_.happen(); });
    } catch (const Deadlock&) {
      return "deadlock";
    }
    for (const std::size_t stored : stored_) corrupt_ |= stored != tiles_.size();
    return corrupt_ ? "corrupt" : "";
  }

 private:
  /// A tile of q and what of its keys and values a stage holds.
  struct Content {
    std::int64_t tile;
    FlashStep step;
    bool operator==(const Content&) const = default;
  };
  struct Product {
    int stage;
    int q;  ///< buffer
    Content reads;
  };
  struct ProducerRing {
    Scheme& s;
    std::int64_t tile = -1;
    int begin(std::int64_t next) { return s.tiles_[static_cast<std::size_t>(tile = next)]; }
    void wait_q_empty(int buffer, std::uint32_t parity) {
      s.wait(s.q_empty_[static_cast<std::size_t>(buffer)],
             s.faults_.same_q_parity ? parity ^ 1U : parity);
    }
    void load_q(int buffer) {
      s.load(s.q_full_[static_cast<std::size_t>(buffer)], [&s = s, buffer, tile = tile] {
        s.q_contents_[static_cast<std::size_t>(buffer)] = tile;
      });
    }
    void wait_empty(int stage, std::uint32_t parity) {
      s.wait(s.empty_[static_cast<std::size_t>(stage)],
             s.faults_.same_parity ? parity ^ 1U : parity);
    }
    void load(int stage, std::int64_t index) {
      const Content content{tile,
                            FlashOverlapped::step(index, s.tiles_[static_cast<std::size_t>(tile)])};
      s.load(s.full_[static_cast<std::size_t>(stage)],
             [&s = s, stage, content] { s.contents_[static_cast<std::size_t>(stage)] = content; });
    }
  };
  struct ConsumerRing {
    Scheme& s;
    std::size_t consumer;
    std::int64_t tile = -1;
    int q = -1;
    int keys = 0;  ///< products started
    int values = 0;
    int weighed = 0;
    int packed = 0;
    int begin(std::int64_t next) {
      s.corrupt_ |= !s.running_[consumer].empty();
      keys = values = weighed = packed = 0;
      return s.tiles_[static_cast<std::size_t>(tile = next)];
    }
    void wait_q(int buffer, std::uint32_t parity) {
      q = buffer;
      if (!s.faults_.takes_q_early) s.wait(s.q_full_[static_cast<std::size_t>(buffer)], parity);
    }
    void release_q(int buffer) { s.q_empty_[static_cast<std::size_t>(buffer)].arrive(); }
    void store() {
      s.corrupt_ |= !s.running_[consumer].empty();
      const int tiles = s.tiles_[static_cast<std::size_t>(tile)];
      s.corrupt_ |= keys != tiles || values != tiles;
      ++s.stored_[consumer];
    }
    void wait_full(int stage, std::uint32_t parity) {
      s.wait(s.full_[static_cast<std::size_t>(stage)], parity);
    }
    void release(int stage) { s.empty_[static_cast<std::size_t>(stage)].arrive(); }
    void multiply_keys(int stage) { s.start(consumer, {stage, q, {tile, {false, keys++}}}); }
    void multiply_values(int stage) {
      s.start(consumer, {stage, q, {tile, {true, values++}}});
      s.corrupt_ |= packed != values;
    }
    template <int kRunning>
    void finish() {
      const std::size_t most = kRunning + (s.faults_.waits_for_less ? 1 : 0);
      s.fibers_.wait_until([this, most] { return s.running_[consumer].size() <= most; });
    }
    // Touches the logits: their product must be over.
    void weigh(int keys_tile) {
      s.corrupt_ |= keys_tile != weighed++ || keys != weighed;
      for (const Product& product : s.running_[consumer]) {
        s.corrupt_ |= !product.reads.step.values;
      }
    }
    // Touches o and the weights: nothing may run.
    void pack() {
      s.corrupt_ |= !s.running_[consumer].empty();
      ++packed;
    }
  };

  // As block 0 of 1.
  [[nodiscard]] FlashWork work() const { return {static_cast<std::int64_t>(tiles_.size()), 1, 0}; }
  void produce() {
    ProducerRing ring{*this};
    cuda::load_flash_tiles(ring, work(), kStages, kQBuffers);
  }
  void consume(int consumer) {
    ConsumerRing ring{*this, static_cast<std::size_t>(consumer)};
    cuda::attend_flash_tiles<FlashOverlapped>(ring, work(), kStages, kQBuffers);
  }
  void wait(const Mbarrier& barrier, std::uint32_t parity) {
    fibers_.wait_until([&barrier, parity] { return barrier.is_over(parity); });
  }
  // Two boxes; each overwrites its memory when it arrives.
  void load(Mbarrier& barrier, const std::function<void()>& write) {
    barrier.arrive_and_expect(2 * kBoxBytes);
    for (int box = 0; box < 2; ++box) {
      events_.add([&barrier, write] {
        write();
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
      corrupt_ |= contents_[static_cast<std::size_t>(over.stage)] != over.reads;
      corrupt_ |= !over.reads.step.values &&
                  q_contents_[static_cast<std::size_t>(over.q)] != over.reads.tile;
    });
  }

  std::vector<int> tiles_;
  Faults faults_;
  Fibers fibers_;
  Events events_;
  std::vector<Mbarrier> full_;
  std::vector<Mbarrier> empty_;
  std::vector<Mbarrier> q_full_;
  std::vector<Mbarrier> q_empty_;
  std::vector<Content> contents_;
  std::vector<std::int64_t> q_contents_;  ///< tile of q
  std::vector<std::deque<Product>> running_;
  std::vector<std::size_t> stored_;  ///< tiles of q, of each consumer
  bool corrupt_ = false;
};

constexpr std::uint64_t kSchedules = 200;

/// The outcomes of all schedules, each once.
std::map<std::string, int> outcomes(const std::vector<int>& tiles, const Faults& faults) {
  std::map<std::string, int> all;
  for (std::uint64_t seed = 0; seed < kSchedules; ++seed) {
    ++all[Scheme(tiles, faults, seed).run()];
  }
  return all;
}

TEST(FlashOrder, EndsWithTheRightTiles) {
  for (const std::vector<int>& tiles :
       {std::vector<int>{0}, {1}, {2}, {3}, {9}, {9, 5, 1}, {1, 1, 1, 1, 1}, {0, 0, 0, 2, 0, 3}}) {
    EXPECT_EQ(outcomes(tiles, {})[""], static_cast<int>(kSchedules)) << tiles.size();
  }
}

TEST(FlashOrder, FaultsAreSeen) {
  const std::vector<int> tiles{9, 1, 2, 1};
  constexpr int kAll = static_cast<int>(kSchedules);
  EXPECT_EQ(outcomes(tiles, {.empty_arrivals = kConsumers + 1})["deadlock"], kAll);
  EXPECT_EQ(outcomes(tiles, {.q_arrivals = kConsumers + 1})["deadlock"], kAll);
  EXPECT_EQ(outcomes(tiles, {.same_parity = true})["deadlock"], kAll);
  EXPECT_EQ(outcomes(tiles, {.same_q_parity = true})["deadlock"], kAll);
  EXPECT_LT(outcomes(tiles, {.empty_arrivals = kConsumers - 1})[""], kAll / 2);
  EXPECT_LT(outcomes(tiles, {.q_arrivals = kConsumers - 1})[""], kAll);
  EXPECT_GT(outcomes(tiles, {.takes_q_early = true})["corrupt"], 0);
  EXPECT_GT(outcomes(tiles, {.waits_for_less = true})["corrupt"], 0);
}

}  // namespace
}  // namespace pareto::emulator
