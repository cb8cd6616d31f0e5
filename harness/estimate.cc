#include "harness/estimate.h"

#include <algorithm>

#include "harness/ceilings.h"
#include "harness/device_ceilings.h"
#include "harness/machine.h"
#include "harness/op.h"

namespace pareto {
namespace {

// A tuned kernel reaches most of its ceiling, a portable one little: half is the middle.
constexpr double kAssumedEfficiency = 0.5;
constexpr double kCallOverheadS = 1e-6;
// Per thread, where nothing has been measured on this machine yet.
constexpr double kUnknownOpsPerS = 2e10;
constexpr double kUnknownBytesPerS = 1e10;
// A GPU that has not been measured counts as so many threads: 1e13 operations, 5e12 bytes a second.
constexpr double kDevicePerThread = 500;
// Cold operands rotate among sets of at least three last-level caches.
constexpr double kColdCaches = 3;
// Drawing, encoding, packing and first touch of what a case holds, all sets together: 4-bit weights
// of 4096 x 4096, cold, took 10 ns a byte on Zen 4.
constexpr double kSetupSPerByte = 1e-8;
// Calls of a case that no sample times: checks on its own operands, verification of its contents
// before and after, probes for remembered results.
constexpr double kUntimedCalls = 40;
constexpr double kFewestSamples = 3;

double rate_or(double measured, double otherwise) { return measured > 0 ? measured : otherwise; }

}  // namespace

double estimated_call_bytes(const Case& subject) {
  return subject.problem.op().estimate(subject.problem).bytes;
}

double estimated_call_s(const Case& subject) {
  const Work work = subject.problem.op().estimate(subject.problem);
  const Ceilings& ceilings = cached_ceilings();
  const std::string& unit = subject.variant->unit;
  const bool on_device = is_device_ceiling(unit);
  const double scale = on_device ? kDevicePerThread : subject.threads;
  const double compute = rate_or(ceilings.get(unit, subject.threads), kUnknownOpsPerS * scale);
  const double bandwidth = rate_or(
      on_device ? ceilings.get("cuda_read_dram", 1) : ceilings.bandwidth("dram", subject.threads),
      kUnknownBytesPerS * scale);
  const double at_best_s = std::max(work.flops / compute, work.bytes / bandwidth);
  return kCallOverheadS + at_best_s / kAssumedEfficiency;
}

double estimated_memory_bytes(const Case& subject) {
  const double bytes = estimated_call_bytes(subject);
  if (subject.cache == "warm") return 3 * bytes;
  return std::max(3 * bytes, kColdCaches * static_cast<double>(this_machine().last_level_bytes()));
}

double estimated_case_s(const Case& subject, double sampling_s, int processes) {
  const double call_s = estimated_call_s(subject);
  return kSetupSPerByte * estimated_memory_bytes(subject) + kUntimedCalls * call_s +
         std::max(sampling_s, kFewestSamples * call_s) * processes;
}

}  // namespace pareto
