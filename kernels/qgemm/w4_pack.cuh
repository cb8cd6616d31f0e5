// 4-bit weights as stored to the order of w4_layout.h, on the device, once.
#pragma once

#include "harness/device_buffer.h"
#include "kernels/cuda_launch.cuh"
#include "kernels/qgemm/w4_layout.h"

namespace pareto {

// One thread per word of 8 codes. What lies beyond N or K is code 8: zero.
static __global__ void pack_w4_words(std::int64_t N, std::int64_t K, std::int64_t steps,
                                     std::int64_t words, const std::uint8_t* w,
                                     std::uint32_t* packed) {
  const std::int64_t index = thread_index();
  if (index >= words) return;
  const std::int64_t unit = index / cuda::kW4UnitWords;
  const int word = static_cast<int>(index % cuda::kW4UnitWords);
  std::uint32_t bits = 0;
  for (int code = 0; code < 8; ++code) {
    const cuda::W4Place at = cuda::w4_place(word, code);
    const std::int64_t row = unit / steps * cuda::kW4Rows + at.row;
    const std::int64_t k = unit % steps * cuda::kW4K + at.k;
    const int value = row < N && k < K ? nibble_of(w[nibble_byte(row, k, K)], k) : 8;
    bits |= static_cast<std::uint32_t>(value) << (4 * code);
  }
  packed[index] = bits;
}

// One thread per scale; beyond N or K it is zero.
static __global__ void pack_w4_scales(std::int64_t N, std::int64_t K, int group, std::int64_t steps,
                                      std::int64_t count, const std::uint16_t* scales,
                                      std::uint16_t* packed) {
  const std::int64_t index = thread_index();
  if (index >= count) return;
  const int of_unit = cuda::w4_unit_scales(group);
  const std::int64_t unit = index / of_unit;
  const cuda::W4ScalePlace at = cuda::w4_scale_place(static_cast<int>(index % of_unit), group);
  const std::int64_t row = unit / steps * cuda::kW4Rows + at.row;
  const std::int64_t g = unit % steps * (cuda::kW4K / group) + at.group;
  const std::int64_t groups = ceil_div(K, group);
  packed[index] = row < N && g < groups ? scales[row * groups + g] : std::uint16_t{0};
}

/// w as units of 128 rows × 128 of k; at least one unit along K.
struct PackedW4 {
  int steps = 0;
  int row_blocks = 0;
  DeviceBuffer<std::uint32_t> words;
  DeviceBuffer<std::uint16_t> scales;

  PackedW4(std::int64_t N, std::int64_t K, int group, const std::uint8_t* w,
           const std::uint16_t* w_scale)
      : steps(K == 0 ? 1 : static_cast<int>(ceil_div(K, cuda::kW4K))),
        row_blocks(static_cast<int>(ceil_div(N, cuda::kW4Rows))),
        words(std::int64_t{row_blocks} * steps * cuda::kW4UnitWords),
        scales(std::int64_t{row_blocks} * steps * cuda::w4_unit_scales(group)) {
    launch(pack_w4_words, words.size(), N, K, std::int64_t{steps}, words.size(), w, words.data());
    launch(pack_w4_scales, scales.size(), N, K, group, std::int64_t{steps}, scales.size(), w_scale,
           scales.data());
  }
  [[nodiscard]] std::size_t bytes() const { return words.bytes() + scales.bytes(); }
};

}  // namespace pareto
