// The warpgroups of attention/cuda_flash_wgmma: one thread that loads, and those that multiply 64
// rows of q each (flash_layout.cuh says where and in which order). For sm_90a alone.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/attention/flash_asm.cuh"
#include "kernels/attention/flash_block.cuh"
#include "kernels/attention/flash_layout.cuh"
#include "kernels/cuda_lane.cuh"
#include "kernels/hopper_asm.cuh"

namespace pareto::cuda {

/// Boxes of 64 elements of the head × 64 rows of q, or 128 keys; keys that nobody sees lie outside.
struct FlashMaps {
  CUtensorMap q;
  CUtensorMap k;
  CUtensorMap v;
};

/// The barriers of the rings: full[stages], empty[stages], and the same for the buffers of q.
template <typename Tile>
struct FlashBarriers {
  std::uint32_t shared;  ///< address of shared memory

  __device__ std::uint32_t full(int stage) const {
    return shared + Tile::kBarrierOffset + 8U * static_cast<unsigned>(stage);
  }
  __device__ std::uint32_t empty(int stage) const { return full(Tile::kStages + stage); }
  __device__ std::uint32_t q_full(int buffer) const { return full(2 * Tile::kStages + buffer); }
  __device__ std::uint32_t q_empty(int buffer) const { return q_full(Tile::kQBuffers + buffer); }

  /// By one thread. Every warp that multiplies gives a stage or q back on its own.
  __device__ void init() const {
    for (int stage = 0; stage < Tile::kStages; ++stage) {
      mbarrier_init(full(stage), 1);
      mbarrier_init(empty(stage), 4 * Tile::kConsumers);
    }
    for (int buffer = 0; buffer < Tile::kQBuffers; ++buffer) {
      mbarrier_init(q_full(buffer), 1);
      mbarrier_init(q_empty(buffer), 4 * Tile::kConsumers);
    }
    mbarrier_init_fence();
  }
};

/// The `tile`-th tile of q in the order of flash_place, and how many tiles of keys it sees.
template <typename Tile>
__device__ int begin_flash_tile(const FlashProblem& p, std::int64_t tile, FlashPlace& at) {
  at = flash_place(p, tile, Tile::kRows);
  return (p.visible_end(at.first_i + Tile::kRows - 1) + Tile::kKeys - 1) / Tile::kKeys;
}

/// The one thread that loads.
template <typename Tile>
struct FlashProducer {
  FlashBarriers<Tile> barriers;
  const FlashMaps& maps;
  const FlashProblem& p;
  FlashPlace at;
  int head = 0;  ///< of all heads of q
  int tiles = 0;

  __device__ int begin(std::int64_t tile) {
    tiles = begin_flash_tile<Tile>(p, tile, at);
    head = static_cast<int>(at.row / p.seq_q);
    return tiles;
  }
  __device__ void wait_q_empty(int buffer, std::uint32_t parity) const {
    mbarrier_wait(barriers.q_empty(buffer), parity);
  }
  __device__ void load_q(int buffer) const {
    mbarrier_expect(barriers.q_full(buffer), Tile::kConsumers * Tile::kQBytes);
    for (int consumer = 0; consumer < Tile::kConsumers; ++consumer) {
      for (int panel = 0; panel < Tile::kPanels; ++panel) {
        tma_load(barriers.shared + Tile::q_panel(buffer, consumer, panel), maps.q,
                 panel * Tile::kPanelElements, at.first_i + consumer * Tile::kConsumerRows, head,
                 barriers.q_full(buffer));
      }
    }
  }
  __device__ void wait_empty(int stage, std::uint32_t parity) const {
    mbarrier_wait(barriers.empty(stage), parity);
  }
  __device__ void load(int stage, std::int64_t index) const {
    const FlashStep step = FlashOverlapped::step(index, tiles);
    const CUtensorMap& map = step.values ? maps.v : maps.k;
    mbarrier_expect(barriers.full(stage), Tile::kStageBytes);
    for (int panel = 0; panel < Tile::kPanels; ++panel) {
      tma_load(barriers.shared + Tile::stage_panel(stage, panel), map, panel * Tile::kPanelElements,
               static_cast<int>(step.tile) * Tile::kKeys, static_cast<int>(at.kv_slice),
               barriers.full(stage));
    }
  }
};

/// A warpgroup with 64 rows of q.
template <typename Tile, bool kBf16>
class FlashConsumer {
 public:
  __device__ FlashConsumer(DeviceThread& lane, FlashBarriers<Tile> barriers, const FlashProblem& p,
                           int consumer, int warp)
      : lane_(lane), barriers_(barriers), p_(p), consumer_(consumer), warp_(warp) {}

  __device__ int begin(std::int64_t tile) {
    const int tiles = begin_flash_tile<Tile>(p_, tile, at_);
    warp_i_ = at_.first_i + consumer_ * Tile::kConsumerRows + 16 * warp_;
    softmax_ = {};
#pragma unroll
    for (auto& block : o_) {
#pragma unroll
      for (float& sum : block) sum = 0;
    }
    return tiles;
  }
  __device__ void wait_q(int buffer, std::uint32_t parity) {
    mbarrier_wait(barriers_.q_full(buffer), parity);
    q_ = buffer;
  }
  __device__ void release_q(int buffer) const {
    if (threadIdx.x % kWarpLanes == 0) mbarrier_arrive(barriers_.q_empty(buffer));
  }

  __device__ void wait_full(int stage, std::uint32_t parity) const {
    mbarrier_wait(barriers_.full(stage), parity);
  }
  __device__ void release(int stage) const {
    if (threadIdx.x % kWarpLanes == 0) mbarrier_arrive(barriers_.empty(stage));
  }
  __device__ __forceinline__ void multiply_keys(int stage) {
    hopper::pin(logits_);
    hopper::fence_products();
    hopper::multiply_shared<kBf16, false>(logits_, operand(Tile::q_operand(q_, consumer_, 0)),
                                          operand(Tile::k_operand(stage, 0)));
#pragma unroll
    for (int k16 = 1; k16 < Tile::kDim / 16; ++k16) {
      hopper::multiply_shared<kBf16, true>(logits_, operand(Tile::q_operand(q_, consumer_, k16)),
                                           operand(Tile::k_operand(stage, k16)));
    }
    hopper::commit_products();
  }
  __device__ __forceinline__ void multiply_values(int stage) {
    hopper::pin(o_);
    hopper::fence_products();
#pragma unroll
    for (int k16 = 0; k16 < Tile::kKeys / 16; ++k16) {
      hopper::multiply_registers<kBf16>(o_, weights_[k16], operand(Tile::v_operand(stage, k16)));
    }
    hopper::commit_products();
  }
  /// 1: the logits are there. 0: o, too.
  template <int kRunning>
  __device__ __forceinline__ void finish() {
    hopper::wait_products<kRunning>();
    hopper::pin(logits_);
    if constexpr (kRunning == 0) hopper::pin(o_);
  }
  __device__ __forceinline__ void weigh(int tile) {
    mask_logits(lane_, p_, warp_i_, tile * Tile::kKeys, logits_);
    softmax_.take(lane_, p_.scale_log2, logits_, rescale_);
    hopper::pin(logits_);  // now, not after the next wait
  }
  /// Weights in 16 bits, as the product with V takes them; o on their scale.
  __device__ __forceinline__ void pack() {
    rescale_rows(o_, rescale_);
#pragma unroll
    for (int k16 = 0; k16 < Tile::kKeys / 16; ++k16) {
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const int first = chained_register(k16, q);
        weights_[k16][q] = pack_half<kBf16>(lane_, logits_[first / 4][first % 4],
                                            logits_[first / 4][first % 4 + 1]);
      }
    }
  }
  __device__ void store() {
    softmax_.finish(lane_);
    store_flash_rows<Tile::kDim, kBf16>(lane_, p_, at_, warp_i_, p_.scale_log2, softmax_, o_);
  }

 private:
  __device__ __forceinline__ std::uint64_t operand(MatrixDescriptor d) const {
    d.start += barriers_.shared;
    return encoded(d);
  }

  DeviceThread& lane_;
  FlashBarriers<Tile> barriers_;
  const FlashProblem& p_;
  int consumer_;
  int warp_;  ///< of the warpgroup
  FlashPlace at_;
  int q_ = 0;       ///< buffer of q
  int warp_i_ = 0;  ///< query of the warp's first row
  float logits_[Tile::kKeys / 8][4];
  std::uint32_t weights_[Tile::kKeys / 16][4];
  float o_[Tile::kDim / 8][4];
  float rescale_[2];
  MmaSoftmax softmax_;
};

}  // namespace pareto::cuda
