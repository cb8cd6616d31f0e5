#include "kernels/qgemm/amx_gemm.h"

namespace pareto {
namespace {

// Of a panel, in L1: 32 KiB.
constexpr std::int64_t kChunkSteps = 16;
// W needs 2 KiB of what is beyond L2 for every 4 products of a strip: with so many strips at least,
// it does not wait for it. Part of K that so many take: 64 steps of 32 rows in 1 MiB.
constexpr std::int64_t kPartSteps = 64;
// Sums that wait for the next part of K, in L3.
constexpr std::int64_t kPanels = 64;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

AmxBlocks AmxBlocks::of(std::int64_t strips, int height, std::int64_t panels, std::int64_t steps,
                        const AmxPanels& stored, int pieces) {
  AmxBlocks blocks{.panels = std::max<std::int64_t>(panels, 1)};
  blocks.steps = blocks.chunk = std::max<std::int64_t>(steps, 1);
  if (steps == 0 || strips == 0 || (strips == 1 && stored.unpack == nullptr)) return blocks;
  const std::int64_t unit = stored.unit_steps;
  const auto even = [&](std::int64_t whole, std::int64_t most) {
    most = std::max(most / unit * unit, unit);
    return divide_up(divide_up(whole, divide_up(whole, most)), unit) * unit;
  };
  const std::int64_t step_bytes = std::int64_t{height} * kAmxRowBytes;
  const std::int64_t budget = l2_bytes() / 2;
  const std::int64_t most =
      std::max<std::int64_t>(budget / (std::min(steps, kPartSteps) * step_bytes), 1);
  blocks.strips = divide_up(strips, divide_up(strips, most));
  blocks.steps = even(steps, budget / (blocks.strips * step_bytes));
  blocks.chunk = even(blocks.steps, kChunkSteps / pieces);
  if (blocks.steps < steps) blocks.panels = std::min(blocks.panels, kPanels);
  return blocks;
}

}  // namespace pareto
