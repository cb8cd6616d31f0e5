#include "kernels/qgemm/amx_gemm.h"

namespace pareto {
namespace {

constexpr std::int64_t kChunkSteps = 16;
// W needs 2 KiB of what is beyond L2 for every 4 products of a strip: with so many strips at least,
// it does not wait for it. Part of K that so many take: 64 steps of 32 rows in 1 MiB.
constexpr std::int64_t kPartSteps = 64;
// Sums that wait for the next part of K, in L3.
constexpr std::int64_t kPanels = 64;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

AmxBlocks AmxBlocks::of(std::int64_t strips, int height, std::int64_t panels, std::int64_t steps) {
  AmxBlocks blocks{.panels = std::max<std::int64_t>(panels, 1)};
  blocks.steps = blocks.chunk = std::max<std::int64_t>(steps, 1);
  if (strips <= 1 || steps == 0) return blocks;
  const std::int64_t step_bytes = std::int64_t{height} * kAmxRowBytes;
  const std::int64_t budget = l2_bytes() / 2;
  const std::int64_t most =
      std::max<std::int64_t>(budget / (std::min(steps, kPartSteps) * step_bytes), 1);
  blocks.strips = divide_up(strips, divide_up(strips, most));
  const std::int64_t part = std::max(budget / (blocks.strips * step_bytes), kChunkSteps);
  blocks.steps = divide_up(steps, divide_up(steps, part));
  blocks.chunk = divide_up(blocks.steps, divide_up(blocks.steps, kChunkSteps));
  if (blocks.steps < steps) blocks.panels = std::min(blocks.panels, kPanels);
  return blocks;
}

}  // namespace pareto
