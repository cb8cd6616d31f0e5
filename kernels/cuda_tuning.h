// Choosing among ways to run one kernel (tile sizes, splits) by trying them, as libraries' own
// heuristics do: in `prepare`, which is timed apart.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

namespace pareto {

/// Index of the quickest of `candidates`, each of which starts one call on the harness's stream:
/// run from a cold L2, a few times each, in turn. Decided once per process for the same `key`
/// (sizes, types: whatever the speed depends on), so that a rotation over many operands does not
/// mix them and the same input gives the same bits. The calls must be recordable and may run any
/// number of times. `candidates` is not empty.
std::size_t quickest(const std::string& key, std::span<const std::function<void()>> candidates);

}  // namespace pareto
