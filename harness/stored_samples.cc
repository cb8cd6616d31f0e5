#include "harness/stored_samples.h"

#include <map>
#include <set>
#include <utility>

namespace pareto {
namespace {

// Bin of a sample when `rounds` neighbouring rounds are merged.
std::pair<std::int32_t, std::int32_t> bin_of(const SampleSet& samples, std::size_t i,
                                             std::int32_t rounds) {
  return {samples.process[i], samples.round[i] / rounds * rounds};
}

std::size_t count_bins(const SampleSet& samples, std::int32_t rounds) {
  std::set<std::pair<std::int32_t, std::int32_t>> bins;
  for (std::size_t i = 0; i < samples.size(); ++i) bins.insert(bin_of(samples, i, rounds));
  return bins.size();
}

}  // namespace

StoredSamples condense(const SampleSet& samples, std::int64_t batch, std::size_t limit) {
  StoredSamples stored;
  if (samples.size() <= limit) {
    stored.samples = samples;
    stored.calls.assign(samples.size(), static_cast<std::int32_t>(batch));
    return stored;
  }
  std::int32_t rounds = 1;
  while (count_bins(samples, rounds) > limit && rounds < (1 << 30)) rounds *= 2;
  std::map<std::pair<std::int32_t, std::int32_t>, std::vector<std::size_t>> members;
  for (std::size_t i = 0; i < samples.size(); ++i) members[bin_of(samples, i, rounds)].push_back(i);
  for (const auto& [bin, indices] : members) {
    double sum = 0;
    for (const std::size_t i : indices) sum += samples.seconds[i];
    stored.samples.seconds.push_back(sum / static_cast<double>(indices.size()));
    stored.samples.process.push_back(bin.first);
    stored.samples.round.push_back(bin.second);
    stored.samples.block.push_back(samples.block[indices.front()]);
    stored.samples.start_s.push_back(samples.start_s[indices.front()]);
    stored.calls.push_back(static_cast<std::int32_t>(batch) *
                           static_cast<std::int32_t>(indices.size()));
  }
  return stored;
}

}  // namespace pareto
