#include "kernels/sparse/step_panels.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace pareto {
namespace {

// Blocks of the block row that a panel lies in.
struct Blocks {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t first_row = 0;  ///< of the panel, within each block
};

Blocks blocks_of(const SparseProblem& p, std::span<const Tensor> in, std::int64_t row) {
  const std::int64_t* offset = in[kSparseOffset].as<const std::int64_t>();
  const std::int64_t r = row / p.block;
  return {offset[r], offset[r + 1], row % p.block};
}

// 16 columns of `rows` rows, `ld` elements apart, to [pair][panel row][2].
void pack_columns(const std::uint16_t* from, std::int64_t ld, std::int64_t rows,
                  std::int64_t panel_rows, std::byte* to) {
  for (std::int64_t n = 0; n < rows; ++n, from += ld) {
    for (std::int64_t pair = 0; pair < StepPanels::kHalfColumns / 2; ++pair) {
      std::memcpy(to + (pair * panel_rows + n) * 4, from + 2 * pair, 4);
    }
  }
}

// The units of 16 columns that a panel's steps begin with.
struct StepList {
  std::vector<std::int32_t> whole;
  std::vector<std::int32_t> half;
};

StepList steps_of(const SparseProblem& p, std::span<const Tensor> in, const Blocks& blocks) {
  const std::int32_t* column = in[kSparseIndex].as<const std::int32_t>();
  const auto units = static_cast<std::int32_t>(p.block / StepPanels::kHalfColumns);
  StepList list;
  for (std::int64_t i = blocks.begin; i < blocks.end; ++i) {
    for (std::int32_t unit = 0; unit < units; unit += 2) {
      const std::int32_t at = column[i] * units + unit;
      const bool with_next =
          units > 1 || (at % 2 == 0 && i + 1 < blocks.end && column[i + 1] == at + 1);
      (with_next ? list.whole : list.half).push_back(at);
      if (with_next && units == 1) ++i;
    }
  }
  return list;
}

}  // namespace

StepPanels::StepPanels(const SparseProblem& problem, std::span<const Tensor> in)
    : rows_(problem.block == kHalfColumns ? 16 : 32),
      panels_((problem.N + rows_ - 1) / rows_),
      begin_(2 * panels_ + 1),
      start_(panels_ + 1) {
  std::vector<std::int32_t> at;
  for (std::int64_t panel = 0; panel < panels_; ++panel) {
    const StepList list = steps_of(problem, in, blocks_of(problem, in, panel * rows_));
    at.insert(at.end(), list.whole.begin(), list.whole.end());
    begin_[2 * panel + 1] = static_cast<std::int64_t>(at.size());
    at.insert(at.end(), list.half.begin(), list.half.end());
    begin_[2 * panel + 2] = static_cast<std::int64_t>(at.size());
    start_[panel + 1] = start_[panel] +
                        static_cast<std::int64_t>(list.whole.size()) * step_bytes(kStepColumns) +
                        static_cast<std::int64_t>(list.half.size()) * step_bytes(kHalfColumns);
  }
  at_ = AlignedBuffer<std::int32_t>(static_cast<std::int64_t>(at.size()));
  std::copy(at.begin(), at.end(), at_.data());
  values_ = AlignedBuffer<std::byte>(start_[panels_]);
  for (std::int64_t panel = 0; panel < panels_; ++panel) pack_panel(problem, in, panel);
}

StepPanels::StepPanels(const std::uint16_t* w, std::int64_t N, std::int64_t columns)
    : rows_(32),
      panels_((N + rows_ - 1) / rows_),
      begin_(2 * panels_ + 1),
      start_(panels_ + 1),
      at_(panels_ * (columns / kStepColumns)),
      values_(panels_ * rows_ * columns * 2) {
  const std::int64_t steps = columns / kStepColumns;
  for (std::int64_t panel = 0; panel < panels_; ++panel) {
    begin_[2 * panel + 1] = begin_[2 * panel + 2] = (panel + 1) * steps;
    start_[panel + 1] = (panel + 1) * steps * step_bytes(kStepColumns);
    const std::int64_t row = panel * rows_;
    for (std::int64_t unit = 0; unit < 2 * steps; ++unit) {
      at_[panel * steps + unit / 2] = static_cast<std::int32_t>(unit / 2 * 2);
      pack_columns(w + row * columns + unit * kHalfColumns, columns,
                   std::min<std::int64_t>(rows_, N - row), rows_,
                   values_.data() + start_[panel] + unit * step_bytes(kHalfColumns));
    }
  }
}

void StepPanels::pack_panel(const SparseProblem& problem, std::span<const Tensor> in,
                            std::int64_t panel) {
  const Blocks blocks = blocks_of(problem, in, panel * rows_);
  const std::int32_t* column = in[kSparseIndex].as<const std::int32_t>();
  const std::int64_t units = problem.block / kHalfColumns;
  const auto pack_unit = [&](std::int64_t unit, std::byte* to) {
    const std::int32_t* block =
        std::lower_bound(column + blocks.begin, column + blocks.end, unit / units);
    const std::int64_t row = (block - column) * problem.block + blocks.first_row;
    pack_columns(in[kSparseValues].as<const std::uint16_t>() + row * problem.block +
                     unit % units * kHalfColumns,
                 problem.block, rows_, rows_, to);
  };
  std::byte* to = values_.data() + start_[panel];
  for (std::int64_t i = begin_[2 * panel]; i < begin_[2 * panel + 2]; ++i) {
    pack_unit(at_[i], to);
    to += step_bytes(kHalfColumns);
    if (i >= begin_[2 * panel + 1]) continue;
    pack_unit(at_[i] + 1, to);
    to += step_bytes(kHalfColumns);
  }
}

StepPanels::Run StepPanels::within(std::int64_t list, std::int64_t step, std::int64_t steps,
                                   const std::byte* w, std::int64_t bytes) const {
  const std::int32_t* begin = at_.data() + begin_[list];
  const std::int32_t* end = at_.data() + begin_[list + 1];
  const std::int32_t* first = std::lower_bound(begin, end, 2 * step);
  const std::int32_t* last = std::lower_bound(first, end, 2 * (step + steps));
  return {first, w + (first - begin) * bytes, last - first};
}

StepPanels::Run StepPanels::whole(std::int64_t panel, std::int64_t step, std::int64_t steps) const {
  return within(2 * panel, step, steps, values_.data() + start_[panel], step_bytes(kStepColumns));
}

StepPanels::Run StepPanels::half(std::int64_t panel, std::int64_t step, std::int64_t steps) const {
  const std::int64_t behind =
      (begin_[2 * panel + 1] - begin_[2 * panel]) * step_bytes(kStepColumns);
  return within(2 * panel + 1, step, steps, values_.data() + start_[panel] + behind,
                step_bytes(kHalfColumns));
}

}  // namespace pareto
