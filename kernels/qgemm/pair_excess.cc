#include "kernels/qgemm/pair_excess.h"

#include <algorithm>
#include <cstdlib>

namespace pareto {
namespace {

constexpr int kMostPairSum = 128;

// What a pair has too much; 0 if it fits. Of two signs it does.
int excess_of(int x0, int x1) {
  const int sum = x0 + x1;
  return sum - std::clamp(sum, -kMostPairSum, kMostPairSum);
}

}  // namespace

bool PairExcess::take(std::int64_t row, std::int64_t step, std::int16_t* codes) {
  Entry entry{.step = static_cast<std::int32_t>(step)};
  bool any = false;
  for (int i = 0; i < kStepCodes; i += 2) {
    const int excess = excess_of(codes[i], codes[i + 1]);
    if (excess == 0) continue;
    // The larger of the two keeps its sign.
    const int larger = std::abs(codes[i]) >= std::abs(codes[i + 1]) ? i : i + 1;
    codes[larger] = static_cast<std::int16_t>(codes[larger] - excess);
    entry.codes[larger] = static_cast<std::int8_t>(excess);
    any = true;
  }
  if (!any) return true;
  if (counts_[row] == capacity_) return false;
  entries_[row * capacity_ + counts_[row]++] = entry;
  return true;
}

}  // namespace pareto
