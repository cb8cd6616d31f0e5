// The ring of stages between producers and consumers: which stage, and which parity of its barriers
// to wait for. Shared with the host emulator, which runs it under random schedules (and defines
// __device__ as nothing).
//
// full[s] counts one arrival (the producer's expect_tx); empty[s] counts one arrival per consumer.
// A wait for parity P passes once the phase of parity P is over; on a fresh barrier P = 1 passes,
// hence the producer waits for the opposite of its phase.
#pragma once

#include <cstdint>

namespace pareto::cuda {

/// Position in the ring. Never reset between the tiles of one launch: the barriers are not, either.
struct PipelinePosition {
  int stage = 0;
  std::uint32_t phase = 0;

  constexpr void advance(int stages) {
    if (++stage < stages) return;
    stage = 0;
    phase ^= 1U;
  }
};

/// Fills stages for `steps` steps. `ring` gives wait_empty(stage, parity) and load(stage, step),
/// which arrives at full[stage] with the bytes to expect and starts the copies.
template <typename Ring>
__device__ void produce(Ring& ring, PipelinePosition& at, std::int64_t steps, int stages) {
  for (std::int64_t step = 0; step < steps; ++step) {
    ring.wait_empty(at.stage, at.phase ^ 1U);
    ring.load(at.stage, step);
    at.advance(stages);
  }
}

/// Uses the stages. multiply(stage, step) starts products that still read the stage when it
/// returns; wait_products(n) returns when at most n of them run. A stage goes back to the producer
/// one step later, when its products are surely done.
template <typename Ring>
__device__ void consume(Ring& ring, PipelinePosition& at, std::int64_t steps, int stages) {
  int previous = -1;
  for (std::int64_t step = 0; step < steps; ++step) {
    ring.wait_full(at.stage, at.phase);
    ring.multiply(at.stage, step);
    ring.wait_products(1);
    if (previous >= 0) ring.release(previous);
    previous = at.stage;
    at.advance(stages);
  }
  ring.wait_products(0);
  if (previous >= 0) ring.release(previous);
}

}  // namespace pareto::cuda
