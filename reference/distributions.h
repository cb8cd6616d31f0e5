// Seeded inputs, the same bits on every platform and for every number of threads: element i of a
// tensor depends on the seed, the tensor's name and i alone.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/op.h"

namespace pareto {

/// "normal" N(0,1); "uniform" in [−1, 1); "integer" whole numbers −8…8; "outlier" N(0,1) +
/// N(0,100)·Bernoulli(0.001), 100 being the standard deviation; "positive" |N(0,1)|; "scaled"
/// N(0,1) times a log-normal scale (σ = 0.5) of its row and one of its column: what a global
/// magnitude threshold leaves of it is as uneven over rows as in pruned networks.
std::span<const std::string> distribution_words();

/// Counter-based generator: independent 64-bit words for every (key, counter).
std::uint64_t random_word(std::uint64_t key, std::uint64_t counter);
/// Key of one tensor of one draw.
std::uint64_t stream_key(const Draw& draw, std::string_view tensor);
/// Uniform integer in [0, bound), from word `counter` of stream `key`.
std::uint64_t random_below(std::uint64_t key, std::uint64_t counter, std::uint64_t bound);
/// Uniform in [0, 1), a multiple of 2^-53.
double random_unit(std::uint64_t key, std::uint64_t counter);

/// Fills `values`, rows of `columns` (1: each a row of its own), with elements 0…size−1 of stream
/// `key`. InputError on an unknown distribution.
void fill_distribution(std::string_view distribution, std::uint64_t key, std::span<float> values,
                       std::int64_t columns = 1);

/// Multiplies rows of `columns` by 2^-130, 2^-69 and 2^50, by turns: products of two tensors that
/// are scaled so are, in fp32, normal though one operand is subnormal, or subnormal themselves.
void scale_to_subnormals(std::span<float> values, std::int64_t columns);

}  // namespace pareto
