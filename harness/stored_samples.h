// What a result file keeps of a long series of samples.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "harness/case_file.h"

namespace pareto {

inline constexpr std::size_t kMaxStoredSamples = 2048;

/// Samples as a result file stores them.
struct StoredSamples {
  SampleSet samples;
  std::vector<std::int32_t> calls;  ///< that the stored time is the mean of
};

/// At most `limit` samples of a case with `batch` calls a sample: as they are, or the means of the
/// samples of 1, 2, 4, … neighbouring rounds of one process, named by the first of these rounds.
StoredSamples condense(const SampleSet& samples, std::int64_t batch, std::size_t limit);

}  // namespace pareto
