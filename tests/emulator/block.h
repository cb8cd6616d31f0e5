// A block of GPU threads on the host: shared memory, asynchronous copies, barriers and warp-level
// products, executed thread by thread through the maps of kernels/cuda_mma_maps.h.
//
// Shared memory knows of each byte who wrote and who read it since the last barrier. Reading what
// nobody wrote, what is still being copied, or what another thread wrote without a barrier in
// between is an error, and so is writing where another thread may still read. Between threads of
// one warp a barrier of that warp is enough.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <vector>

#include "kernels/cuda_mma_maps.h"
#include "tests/emulator/fibers.h"

namespace pareto::emulator {

/// What a kernel did wrong.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Lane;

class Block {
 public:
  Block(int threads, std::size_t shared_bytes, std::uint64_t seed);

  /// Global memory that threads may read.
  void allow(std::span<const std::uint16_t> memory) { readable_.push_back(memory); }
  /// Runs `body` for every thread. Throws Fault or Deadlock.
  void run(const std::function<void(Lane&)>& body);

 private:
  friend class Lane;
  static constexpr int kNobody = -1;
  static constexpr int kSeveral = -2;

  struct SharedByte {
    std::byte value{};
    bool written = false;
    int copying = kNobody;  ///< thread whose copy is on its way here
    int writer = kNobody;   ///< the last one, in epoch `write_epoch`
    int reader = kNobody;   ///< of epoch `read_epoch`
    int reader_warp = kNobody;
    std::int64_t write_epoch = -1;
    std::int64_t read_epoch = -1;
  };
  /// A warp-level instruction that waits for its 32 lanes.
  struct Meeting {
    std::vector<Lane*> lanes;
    std::int64_t number = 0;  ///< of instructions finished
    const char* instruction = nullptr;
  };

  /// Whether what `other` of `warp` did in epoch `epoch` may happen at the same time as what `lane`
  /// does.
  static bool unordered(int other, int warp, std::int64_t epoch, const Lane& lane);
  std::span<SharedByte> at(std::uint32_t offset, std::size_t bytes);
  void claim_for_writing(std::uint32_t offset, std::size_t bytes, const Lane& lane);
  void write(std::uint32_t offset, std::span<const std::byte> bytes, const Lane& lane);
  void read(std::uint32_t offset, std::span<std::byte> bytes, const Lane& lane);
  void check_readable(const std::uint16_t* from, int count) const;
  /// Waits for all lanes of the warp; the last one to come does `what` for all.
  void meet(Lane& lane, const char* instruction, const std::function<void(Meeting&)>& what);

  Fibers fibers_;
  int threads_;
  std::vector<SharedByte> shared_;
  std::vector<std::span<const std::uint16_t>> readable_;
  std::vector<Meeting> meetings_;  ///< one per warp
  int at_barrier_ = 0;
  std::int64_t barriers_ = 0;
};

/// One thread: the interface of kernels/cuda_lane.cuh and kernels/sparse/sparse_lane.cuh.
class Lane {
 public:
  Lane(Block& block, int thread) : block_(block), thread_(thread) {}
  virtual ~Lane() = default;

  [[nodiscard]] int thread() const { return thread_; }
  float exchange(float value, int distance);
  [[nodiscard]] std::uint32_t load_pair(const std::uint16_t* from) const;
  void store_pair(std::uint16_t* to, std::uint32_t pair) const;
  [[nodiscard]] float exp2(float x) const;
  /// Rounded to nearest even, `low` in the low half.
  [[nodiscard]] std::uint32_t pack_bf16(float low, float high) const;
  [[nodiscard]] std::uint32_t pack_fp16(float low, float high) const;
  void copy_chunk(std::uint32_t offset, const std::uint16_t* from, int valid, bool aligned);
  void commit_copies();
  template <int kPending>
  void wait_copies() {
    wait_until_copied(kPending);
  }
  virtual void wait_until_copied(int pending);
  virtual void barrier();
  void store_shared(std::uint32_t offset, float value);
  [[nodiscard]] float load_shared(std::uint32_t offset);
  void load_matrices(std::uint32_t (&to)[4], std::uint32_t offset);
  void load_matrices_transposed(std::uint32_t (&to)[4], std::uint32_t offset);
  void multiply(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1);
  void multiply_fp16(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                     std::uint32_t b1);

  virtual void warp_barrier();
  template <int kMost>
  void copy_chunks(std::uint32_t offset, const void* from, int chunks) {
    copy_shared_out(kMost, offset, from, chunks);
  }
  std::uint32_t load_word(std::uint32_t offset);
  [[nodiscard]] std::uint32_t peek_word(std::uint32_t offset) const;
  void load_four_words(std::uint32_t offset, std::uint32_t (&to)[4]);
  void load_two(std::uint32_t offset, float (&to)[2]);
  void load_two_entries(std::uint32_t offset, std::uint32_t (&column)[2], float (&value)[2]);
  void load_four(const float* from, float (&to)[4]) const;
  void load_once(const std::uint32_t* from, std::uint32_t (&to)[4]) const;
  [[nodiscard]] std::uint32_t load_once(const std::uint32_t* from) const;
  std::uint32_t exchange_with_neighbour(std::uint32_t value);
  template <int kSelector>
  void multiply_sparse(float (&sum)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[4],
                       std::uint32_t meta) {
    multiply_sparse(kSelector, sum, a, b, meta);
  }
  void store_word(std::uint32_t offset, std::uint32_t value);
  std::uint32_t add_below(std::uint32_t value, int distance);
  std::uint32_t of_last_lane(std::uint32_t value);
  [[nodiscard]] std::uint32_t permute_bytes(std::uint32_t a, std::uint32_t b,
                                            std::uint32_t selectors) const;
  [[nodiscard]] std::uint32_t add_byte_products(std::uint32_t a, std::uint32_t b,
                                                std::uint32_t sum) const;

 private:
  friend class Block;
  using HalfValue = float (*)(std::uint32_t word, int half);
  using MatrixMap = cuda::Element (*)(int lane, int half);
  void load_matrices_as(const char* instruction, MatrixMap map, std::uint32_t (&to)[4],
                        std::uint32_t offset);
  void multiply_as(const char* instruction, HalfValue value, float (&sum)[4],
                   const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1);
  static constexpr std::int64_t kWarpEpochs = std::int64_t{1} << 32;
  void multiply_sparse(int selector, float (&sum)[4], const std::uint32_t (&a)[4],
                       const std::uint32_t (&b)[4], std::uint32_t meta);
  void copy_shared_out(int most, std::uint32_t offset, const void* from, int chunks);
  std::uint32_t shuffle(const char* instruction, std::uint32_t value,
                        const std::function<int(int)>& source);
  struct Copy {
    std::uint32_t offset;
    std::array<std::byte, 16> bytes;
  };
  Block& block_;
  int thread_;
  /// Barriers passed: of the block, in units of kWarpEpochs, and of the warp since.
  std::int64_t epoch_ = 0;
  std::vector<Copy> open_;  ///< not committed yet
  std::vector<std::vector<Copy>> groups_;
  // Operands of the instruction that is waiting for the warp.
  int distance_ = 0;
  float exchanged_ = 0;
  std::uint32_t shuffled_ = 0;
  std::uint32_t offset_ = 0;
  std::uint32_t* matrices_ = nullptr;
  float* sum_ = nullptr;
  std::array<std::uint32_t, 4> a_{};
  std::array<std::uint32_t, 4> b_{};
  std::uint32_t meta_ = 0;
};

}  // namespace pareto::emulator
