// Into how many parts the keys of a KV head are split on a GPU: host arithmetic, tested without
// one.
#pragma once

#include <cstdint>

#include "kernels/attention/decode_block.cuh"
#include "kernels/cuda_maps.h"

namespace pareto {

struct DecodeSplits {
  std::int64_t count = 1;                                 ///< none is empty if there are keys
  std::int64_t keys = cuda::DecodeTile<128>::kBlockKeys;  ///< of each but the last
};

/// The split with the least modelled time for `units` (KV heads of all sequences, times row tiles)
/// of `keys` keys each on a device that runs `slots` blocks at once: rounds of blocks, each as long
/// as its keys and the filling of its rings, and the sum over the splits.
constexpr DecodeSplits decode_splits(std::int64_t units, std::int64_t keys, std::int64_t slots) {
  constexpr std::int64_t kStep = cuda::DecodeTile<128>::kBlockKeys;
  constexpr std::int64_t kFillKeys = 64;  // as long as a block takes until its first keys arrive
  constexpr std::int64_t kSumKeys = 2;    // as long as adding one split takes
  DecodeSplits best;
  std::int64_t least = -1;
  for (std::int64_t wanted = 1; wanted <= cuda::kDecodeSplits; ++wanted) {
    const std::int64_t part = ceil_div(ceil_div(keys, wanted), kStep) * kStep;
    const DecodeSplits split{part == 0 ? 1 : ceil_div(keys, part), part == 0 ? kStep : part};
    const std::int64_t time =
        ceil_div(units * split.count, slots) * (split.keys + kFillKeys) + kSumKeys * split.count;
    if (least < 0 || time < least) {
      least = time;
      best = split;
    }
  }
  return best;
}

}  // namespace pareto
