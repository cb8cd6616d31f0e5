// Shared memory of attention/cuda_flash_wgmma, as TMA writes and wgmma reads it, and the order in
// which K and V pass through the ring: shared with the host tests (which define __device__ as
// nothing).
#pragma once

#include <cstdint>

#include "kernels/cuda_pipeline.cuh"
#include "kernels/cuda_wgmma_maps.h"

namespace pareto::cuda {

/// A tile is panels of 64 elements of the head, 128 bytes, × all its rows, swizzled: one TMA box.
/// Two warpgroups multiply, one more loads.
template <int kDimension>
struct FlashWgmmaTile {
  static constexpr int kDim = kDimension;  ///< of q, k, v and o: 64 or 128
  static constexpr int kConsumers = 2;
  static constexpr int kConsumerRows = 64;
  static constexpr int kRows = kConsumers * kConsumerRows;
  static constexpr int kThreads = (kConsumers + 1) * kWarpgroupThreads;
  static constexpr int kKeys = 128;
  // Registers of a thread after the warpgroups have shared out those of the launch, 65536 in all.
  static constexpr int kProducerRegisters = 24;
  static constexpr int kConsumerRegisters = 240;
  static constexpr int kStages = 4;    ///< of K or V: they take turns
  static constexpr int kQBuffers = 2;  ///< the next rows of q come while these are in use
  static constexpr int kPanelElements = 64;
  static constexpr int kPanels = kDim / kPanelElements;
  static constexpr Swizzle kSwizzle = Swizzle::k128;
  static constexpr int kSpan = span_bytes(kSwizzle);

  static constexpr int kQBytes = kConsumerRows * kDim * 2;  ///< of one consumer
  static constexpr int kStageBytes = kKeys * kDim * 2;
  static constexpr int kBarriers = 2 * kStages + 2 * kQBuffers;
  static constexpr int kStagesOffset = kQBuffers * kConsumers * kQBytes;
  static constexpr int kBarrierOffset = kStagesOffset + kStages * kStageBytes;
  static constexpr int kSharedBytes = kBarrierOffset + 8 * kBarriers;

  static constexpr std::uint32_t q_panel(int buffer, int consumer, int panel) {
    return static_cast<std::uint32_t>((buffer * kConsumers + consumer) * kQBytes +
                                      panel * kConsumerRows * kSpan);
  }
  static constexpr std::uint32_t stage_panel(int stage, int panel) {
    return static_cast<std::uint32_t>(kStagesOffset + stage * kStageBytes + panel * kKeys * kSpan);
  }

  /// Operands of step `k16` of Q·Kᵀ (16 elements of the head), from the start of shared memory.
  static constexpr MatrixDescriptor q_operand(int buffer, int consumer, int k16) {
    return k_step(q_panel(buffer, consumer, k16 / 4), kConsumerRows, k16 % 4);
  }
  static constexpr MatrixDescriptor k_operand(int stage, int k16) {
    return k_step(stage_panel(stage, k16 / 4), kKeys, k16 % 4);
  }
  /// Of step `k16` of P·V (16 keys).
  static constexpr MatrixDescriptor v_operand(int stage, int k16) {
    return mn_major(stage_panel(stage, 0) + static_cast<std::uint32_t>(16 * k16 * kSpan), kKeys,
                    kSwizzle);
  }

 private:
  static constexpr MatrixDescriptor k_step(std::uint32_t panel, int rows, int step) {
    MatrixDescriptor d = k_major(panel, rows, kSwizzle);
    d.start += static_cast<std::uint32_t>(step) * k_major_step(rows, kSwizzle);
    return d;
  }
};

/// What a step of the ring holds: K or V of a tile.
struct FlashStep {
  bool values = false;
  std::int64_t tile = 0;
  constexpr bool operator==(const FlashStep&) const = default;
};

// The order of work of a warpgroup. A `Ring` waits for full stages and gives them back;
// multiply_keys(stage) and multiply_values(stage) start products that read the stage until
// finish<n>() has returned, which leaves at most the n products started last running; weigh(tile)
// turns the logits into weights, and pack() hands them to the next multiply_values.

/// The sums of one tile run beside the logits of the next and their weights: K comes one tile
/// ahead of V.
struct FlashOverlapped {
  static constexpr FlashStep step(std::int64_t index, std::int64_t tiles) {
    if (index == 2 * tiles - 1) return {true, tiles - 1};
    if (index == 0 || index % 2 == 1) return {false, (index + 1) / 2};
    return {true, index / 2 - 1};
  }
  template <typename Ring>
  __device__ static void attend(Ring& ring, PipelinePosition& at, int tiles, int stages) {
    if (tiles == 0) return;
    ring.wait_full(at.stage, at.phase);
    ring.multiply_keys(at.stage);
    ring.template finish<0>();
    ring.release(at.stage);
    at.advance(stages);
    ring.weigh(0);
    ring.pack();
    ring.wait_full(at.stage, at.phase);
#pragma unroll 1
    for (int tile = 1; tile < tiles; ++tile) {
      const int keys = at.stage;
      ring.multiply_keys(at.stage);
      at.advance(stages);
      ring.wait_full(at.stage, at.phase);
      ring.multiply_values(at.stage);
      ring.template finish<1>();
      ring.release(keys);
      ring.weigh(tile);
      // Here, since the loop of a wait keeps ptxas from moving the weights behind finish<0>.
      PipelinePosition next = at;
      next.advance(stages);
      ring.wait_full(next.stage, next.phase);
      ring.template finish<0>();
      ring.release(at.stage);
      at = next;
      ring.pack();
    }
    ring.multiply_values(at.stage);
    ring.template finish<0>();
    ring.release(at.stage);
    at.advance(stages);
  }
};

/// Which tiles of q fall to a block: `tiles` in all, ordered from the longest on, are dealt out to
/// `blocks` in turn, every second round from the other end.
struct FlashWork {
  std::int64_t tiles = 0;
  std::int64_t blocks = 1;
  std::int64_t block = 0;

  [[nodiscard]] constexpr std::int64_t rounds() const { return (tiles + blocks - 1) / blocks; }
  /// `tiles` or more: none in this round.
  [[nodiscard]] constexpr std::int64_t tile(std::int64_t round) const {
    return round * blocks + (round % 2 == 0 ? block : blocks - 1 - block);
  }
};

// All tiles of q of a block, one after the other; the positions in the rings go on. begin(tile)
// makes that the `ring`'s tile of q and returns how many tiles of keys it sees.

/// wait_q_empty(buffer, parity) and load_q(buffer) beside what `produce` wants.
template <typename Ring>
__device__ void load_flash_tiles(Ring& ring, const FlashWork& work, int stages, int q_buffers) {
  PipelinePosition at;
  PipelinePosition q;
  for (std::int64_t round = 0; round < work.rounds(); ++round) {
    if (work.tile(round) >= work.tiles) continue;
    const int tiles = ring.begin(work.tile(round));
    ring.wait_q_empty(q.stage, q.phase ^ 1U);
    ring.load_q(q.stage);
    produce(ring, at, 2 * std::int64_t{tiles}, stages);
    q.advance(q_buffers);
  }
}
/// wait_q(buffer, parity), release_q(buffer) and store() beside what `Order` wants.
template <typename Order, typename Ring>
__device__ void attend_flash_tiles(Ring& ring, const FlashWork& work, int stages, int q_buffers) {
  PipelinePosition at;
  PipelinePosition q;
#pragma unroll 1
  for (std::int64_t round = 0; round < work.rounds(); ++round) {
    if (work.tile(round) >= work.tiles) continue;
    const int tiles = ring.begin(work.tile(round));
    ring.wait_q(q.stage, q.phase);
    Order::attend(ring, at, tiles, stages);
    ring.release_q(q.stage);
    ring.store();
    q.advance(q_buffers);
  }
}

}  // namespace pareto::cuda
