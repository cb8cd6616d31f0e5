#include "kernels/sparse/sell_slices.h"

#include <algorithm>
#include <limits>

namespace pareto {

SellSlices::SellSlices(const SparseProblem& problem, std::span<const Tensor> in, int lanes,
                       int chunks)
    : lanes_(lanes), first_slice_{0} {
  const CsrRows rows = CsrRows::of(problem, in);
  first_row_ = rows.chunks_of_equal_work(chunks);
  std::vector<Segment> all;  // of slice s: from s · lanes on
  for (int chunk = 0; chunk < this->chunks(); ++chunk) {
    std::vector<Segment> sorted = segments(rows, chunk);
    const auto dummy = static_cast<std::int32_t>(this->rows(chunk));
    const auto whole = (sorted.size() + static_cast<std::size_t>(lanes) - 1) /
                       static_cast<std::size_t>(lanes) * static_cast<std::size_t>(lanes);
    sorted.resize(whole, {dummy, 0, 0});
    add_slices(sorted);
    all.insert(all.end(), sorted.begin(), sorted.end());
  }
  fill(rows, all, problem.K);
}

// Empty rows have no segment.
std::vector<SellSlices::Segment> SellSlices::segments(const CsrRows& rows, int chunk) const {
  constexpr std::int64_t kMeans = 4;
  constexpr std::int64_t kShortest = 64;  // not worth the addition of a sum
  const std::int64_t first = first_row(chunk);
  const std::int64_t nonzeros = rows.start[static_cast<std::size_t>(first_row(chunk + 1))] -
                                rows.start[static_cast<std::size_t>(first)];
  const std::int64_t mean = nonzeros / std::max<std::int64_t>(this->rows(chunk), 1);
  const std::int64_t longest = std::max(kShortest, kMeans * mean);
  std::vector<Segment> found;
  for (std::int64_t n = 0; n < this->rows(chunk); ++n) {
    const std::int64_t end = rows.start[static_cast<std::size_t>(first + n) + 1];
    for (std::int64_t at = rows.start[static_cast<std::size_t>(first + n)]; at < end;
         at += longest) {
      found.push_back({static_cast<std::int32_t>(n), at, std::min(longest, end - at)});
    }
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Segment& a, const Segment& b) { return a.count > b.count; });
  return found;
}

void SellSlices::add_slices(std::span<const Segment> segments) {
  std::int64_t start = slices_.empty() ? 0 : slices_.back().start + slices_.back().count * lanes_;
  for (std::size_t i = 0; i < segments.size(); i += static_cast<std::size_t>(lanes_)) {
    slices_.push_back({start, segments[i].count});
    start += segments[i].count * lanes_;
  }
  for (const Segment& segment : segments) row_.push_back(segment.row);
  first_slice_.push_back(static_cast<std::int64_t>(slices_.size()));
}

void SellSlices::fill(const CsrRows& rows, std::span<const Segment> segments, std::int64_t K) {
  const std::int64_t total =
      slices_.empty() ? 0 : slices_.back().start + slices_.back().count * lanes_;
  values_ = AlignedBuffer<float>(total);
  const bool narrow = K <= std::numeric_limits<std::uint16_t>::max();
  if (narrow) {
    index16_ = AlignedBuffer<std::uint16_t>(total);
  } else {
    index32_ = AlignedBuffer<std::int32_t>(total);
  }
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    const SellSlice& slice = slices_[i / static_cast<std::size_t>(lanes_)];
    std::int64_t place = slice.start + static_cast<std::int64_t>(i) % lanes_;
    for (std::int64_t j = 0; j < slice.count; ++j, place += lanes_) {
      const bool there = j < segment.count;
      const auto at = static_cast<std::size_t>(segment.begin + j);
      const std::int64_t column = there ? rows.column[at] : K;
      values_[place] = there ? rows.value[at] : 0;
      if (narrow) {
        index16_[place] = static_cast<std::uint16_t>(column);
      } else {
        index32_[place] = static_cast<std::int32_t>(column);
      }
    }
  }
}

}  // namespace pareto
