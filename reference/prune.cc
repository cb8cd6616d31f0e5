#include "reference/prune.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

#include "harness/errors.h"
#include "reference/number_formats.h"
#include "reference/parallel_rows.h"

namespace pareto {
namespace {

// Bits of a non-negative float or double order as their values do, NaN last.
std::uint32_t magnitude_bits(float value) {
  return std::bit_cast<std::uint32_t>(value) & 0x7fffffffU;
}

// Calls prune(i) for the `count` smallest keys, of equals for those with the higher index.
template <typename Bits, typename Prune>
void for_smallest(const std::vector<Bits>& keys, std::int64_t count, const Prune& prune) {
  if (count <= 0) return;
  std::vector<Bits> sorted = keys;
  const auto last = sorted.begin() + (count - 1);
  std::nth_element(sorted.begin(), last, sorted.end());
  const Bits threshold = *last;
  std::int64_t equals = count;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] >= threshold) continue;
    prune(i);
    --equals;
  }
  for (std::size_t i = keys.size(); i-- > 0 && equals > 0;) {
    if (keys[i] != threshold) continue;
    prune(i);
    --equals;
  }
}

double block_score(const float* w, std::int64_t stride, std::int64_t rows, std::int64_t columns) {
  double sum = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      const double value = w[i * stride + j];
      sum += value * value;
    }
  }
  return sum;
}

void clear_block(float* w, std::int64_t stride, std::int64_t rows, std::int64_t columns) {
  for (std::int64_t i = 0; i < rows; ++i) std::fill_n(w + i * stride, columns, 0.0F);
}

// The n largest of `count` values stay.
void keep_largest(float* w, std::int64_t count, std::int64_t n, std::vector<std::int64_t>& order) {
  order.resize(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [w](std::int64_t a, std::int64_t b) {
    return magnitude_bits(w[a]) > magnitude_bits(w[b]);
  });
  for (std::int64_t i = n; i < count; ++i) w[order[static_cast<std::size_t>(i)]] = 0.0F;
}

}  // namespace

std::int64_t pruned_count(double sparsity, std::int64_t count) {
  return static_cast<std::int64_t>(std::nearbyint(sparsity * static_cast<double>(count)));
}

void prune_magnitude(std::span<float> w, double sparsity) {
  std::vector<std::uint32_t> keys(w.size());
  std::transform(w.begin(), w.end(), keys.begin(), magnitude_bits);
  for_smallest(keys, pruned_count(sparsity, static_cast<std::int64_t>(w.size())),
               [w](std::size_t i) { w[i] = 0.0F; });
}

void prune_magnitude_rows(std::span<float> w, std::int64_t rows, std::int64_t columns,
                          double sparsity) {
  parallel_rows(rows, threads_for(rows * columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      prune_magnitude(
          w.subspan(static_cast<std::size_t>(row * columns), static_cast<std::size_t>(columns)),
          sparsity);
    }
  });
}

void prune_blocks(std::span<float> w, std::int64_t rows, std::int64_t columns, std::int64_t block,
                  double sparsity, bool per_block_row) {
  const std::int64_t block_rows = (rows + block - 1) / block;
  const std::int64_t block_columns = (columns + block - 1) / block;
  const auto extent = [block](std::int64_t i, std::int64_t size) {
    return std::min(block, size - i * block);
  };
  const auto visit = [&](std::int64_t r, std::int64_t c, auto&& body) {
    return body(w.data() + r * block * columns + c * block, columns, extent(r, rows),
                extent(c, columns));
  };
  std::vector<std::uint64_t> keys;
  const auto prune = [&](std::int64_t first_row) {
    for_smallest(keys, pruned_count(sparsity, static_cast<std::int64_t>(keys.size())),
                 [&](std::size_t i) {
                   const auto flat = static_cast<std::int64_t>(i);
                   visit(first_row + flat / block_columns, flat % block_columns, clear_block);
                 });
    keys.clear();
  };
  for (std::int64_t r = 0; r < block_rows; ++r) {
    for (std::int64_t c = 0; c < block_columns; ++c) {
      const double score = std::abs(visit(r, c, block_score));  // clears the sign of a NaN
      keys.push_back(std::bit_cast<std::uint64_t>(score));
    }
    if (per_block_row) prune(r);
  }
  if (!per_block_row) prune(0);
}

void prune_n_of_m(std::span<float> w, std::int64_t rows, std::int64_t columns, std::int64_t n,
                  std::int64_t m) {
  if (m < 1 || n > m) {
    throw InputError("n = " + std::to_string(n) + ", m = " + std::to_string(m) +
                     ": N:M pruning keeps n of m, 0 <= n <= m, m >= 1");
  }
  parallel_rows(rows, threads_for(rows * columns), [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int64_t> order;
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t k = 0; k < columns; k += m) {
        keep_largest(w.data() + row * columns + k, std::min(m, columns - k), n, order);
      }
    }
  });
}

void soft_threshold(std::span<float> w, double theta, DType dtype) {
  HostTensor rounded(dtype, Shape{1});
  for (float& weight : w) {
    const double value = weight;
    const double excess = std::abs(value) - theta;
    if (excess <= 0) {
      weight = 0.0F;
      continue;
    }
    store_rounded(rounded.view(), 0, std::copysign(excess, value));
    weight = static_cast<float>(rounded.value(0));
  }
}

}  // namespace pareto
