// Into how many parts the keys of a KV head are split on a GPU: host arithmetic, tested without
// one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/attention/decode_block.cuh"
#include "kernels/cuda_maps.h"

namespace pareto {

/// Splits are multiples of it, all but the last.
inline constexpr std::int64_t kDecodeStep = cuda::DecodeTile<128>::kBlockKeys;

struct DecodeSplits {
  std::int64_t count = 1;           ///< none is empty if there are keys
  std::int64_t keys = kDecodeStep;  ///< of each but the last
  bool clustered = false;           ///< summed by a cluster of as many blocks
  constexpr bool operator==(const DecodeSplits&) const = default;
};

/// At most `wanted` splits, as equal as steps of all warps allow.
constexpr DecodeSplits decode_splits_of(std::int64_t keys, std::int64_t wanted) {
  const std::int64_t part = ceil_div(ceil_div(keys, wanted), kDecodeStep) * kDecodeStep;
  return {part == 0 ? 1 : ceil_div(keys, part), part == 0 ? kDecodeStep : part};
}

/// The split with the least modelled time for `units` (KV heads of all sequences, times row tiles)
/// of `keys` keys each on a device that runs `slots` blocks at once: rounds of blocks, each as long
/// as its keys and the filling of its rings, and the sum over the splits.
constexpr DecodeSplits decode_splits(std::int64_t units, std::int64_t keys, std::int64_t slots) {
  constexpr std::int64_t kFillKeys = 64;  // as long as a block takes until its first keys arrive
  constexpr std::int64_t kSumKeys = 2;    // as long as adding one split takes
  DecodeSplits best;
  std::int64_t least = -1;
  for (std::int64_t wanted = 1; wanted <= cuda::kDecodeSplits; ++wanted) {
    const DecodeSplits split = decode_splits_of(keys, wanted);
    const std::int64_t time =
        ceil_div(units * split.count, slots) * (split.keys + kFillKeys) + kSumKeys * split.count;
    if (least < 0 || time < least) {
      least = time;
      best = split;
    }
  }
  return best;
}

/// Splits worth trying, each once, the likeliest first: what the model plans for one and for two
/// blocks on a multiprocessor, neighbours of the first, and clusters of at most `largest_cluster`
/// blocks.
inline std::vector<DecodeSplits> decode_candidates(std::int64_t units, std::int64_t keys,
                                                   std::int64_t multiprocessors,
                                                   int largest_cluster) {
  const DecodeSplits first = decode_splits(units, keys, multiprocessors);
  std::vector<DecodeSplits> all;
  const auto add = [&all](const DecodeSplits& splits) {
    if (std::find(all.begin(), all.end(), splits) == all.end()) all.push_back(splits);
  };
  add(first);
  add(decode_splits(units, keys, 2 * multiprocessors));
  for (const std::int64_t wanted : {first.count / 2, 2 * first.count, 4 * first.count}) {
    add(decode_splits_of(keys, std::clamp(wanted, std::int64_t{1}, cuda::kDecodeSplits)));
  }
  for (int blocks = 4; blocks <= largest_cluster; blocks *= 2) {
    DecodeSplits splits = decode_splits_of(keys, blocks);
    splits.clustered = true;
    if (splits.count == blocks) add(splits);
  }
  return all;
}

}  // namespace pareto
