#include "harness/group_member.h"

#include <algorithm>
#include <cmath>

#include "harness/device.h"
#include "harness/device_ceilings.h"
#include "harness/energy.h"

namespace pareto {
namespace {

using nlohmann::json;

constexpr double kProbeAgainS = 0.5;

double attainable(const GroupMember& member, const Work& work, const Ceilings& ceilings) {
  const bool warm = member.subject->cache == "warm";
  return ceilings.attainable_s({.unit = member.subject->variant->unit,
                                .threads = member.subject->threads,
                                .flops = work.flops,
                                .bytes = work.bytes,
                                .warm = warm});
}

// This case's compute unit and all read bandwidths, measured now.
Ceilings ceilings_of(const GroupMember& member) {
  std::vector<std::string> names = {member.subject->variant->unit};
  const std::string read = is_device_ceiling(names[0]) ? "cuda_read_" : "read_";
  for (const std::string& name : measurable_ceilings()) {
    if (name.starts_with(read)) names.push_back(name);
  }
  const std::vector<int> threads = {member.subject->threads};
  return measure_ceilings(names, threads, kProbeAgainS);
}

void record_rates(GroupMember& member, const Work& work, const Ceilings& ceilings) {
  json& row = member.record.row;
  if (!row["time_median_s"].is_number()) return;
  double ceiling_s = attainable(member, work, ceilings);
  if (ceiling_s / row["time_median_s"].get<double>() > kSuspectFraction) {
    // The ceiling may have been measured in a slow moment: once more, beside the result.
    ceiling_s = std::min(ceiling_s, attainable(member, work, ceilings_of(member)));
  }
  row["ceiling_s"] = number_or_null(ceiling_s);
  put_rates(row);
}

void record_energy(GroupMember& member) {
  MeasuredCall& call = *member.call;
  const MeasuredCall::Unbroken calls = call.unbroken(member.record.row["calls_per_sample"]);
  const bool on_device = member.subject->variant->needs_cuda > 0;
  const OpenedCounter counter = on_device ? open_nvml(device_info().uuid) : open_rapl();
  const EnergyReading reading = measure_energy(counter, calls.run, calls.calls);
  member.record.row["energy_j"] = number_or_null(reading.joules_per_call);
  member.record.row["energy_idle_w"] = number_or_null(reading.idle_watts);
  member.record.row["energy_call_s"] =
      number_or_null(reading.seconds / static_cast<double>(reading.calls));  // 0/0: not measured
  member.record.row["energy_reason"] = reading.reason;
}

}  // namespace

void record_series(GroupMember& member, const Series& series, int process) {
  json& row = member.record.row;
  row["time_median_s"] = number_or_null(series.median);
  row["time_lo_s"] = number_or_null(series.lo);
  row["time_hi_s"] = number_or_null(series.hi);
  row["samples"] = series.seconds_per_call.size();
  row["calls_per_sample"] = series.batch;
  row["visits_s"] = number_or_null(series.visits_s);
  row["stop_reason"] = series.stop_reason;
  row["unstable"] = series.unstable;
  const CallTimer& timer = member.call->timer();
  const bool own_clock = std::isfinite(timer.clock_hz());
  row["core_clock_hz"] = number_or_null(own_clock ? timer.clock_hz() : series.core_clock_hz);
  row["throttled"] = timer.throttled();
  SampleSet& samples = member.record.samples;
  samples.seconds = series.seconds_per_call;
  samples.block = series.block;
  samples.round = series.round;
  samples.start_s = series.start_s;
  samples.process.assign(samples.seconds.size(), process);
}

void forget_times(GroupMember& member) {
  forget_times(member.record);
  member.timed = false;
}

void record_work(GroupMember& member, const Ceilings& ceilings, bool energy) {
  json& row = member.record.row;
  const Work work = member.contents->work();
  const std::size_t packed = member.call->packed_bytes();
  row["flops"] = work.flops;
  row["bytes"] = work.bytes;
  row["packed_bytes"] = packed;
  row["allocated_bytes"] = member.call->allocated_bytes();
  row["compression_ratio"] =
      number_or_null(work.compressed_bytes > 0 ? work.dense16_bytes / work.compressed_bytes : NAN);
  row["prepare_s"] = number_or_null(member.call->prepare_s());
  row["operand_hash"] = member.contents->operand_hash();
  const Agreement& agreement = member.call->agreement();
  put_metrics(row, "total", agreement.total);
  put_metrics(row, "kernel", agreement.kernel);
  put_metrics(row, "compression", agreement.compression);
  if (member.timed) record_rates(member, work, ceilings);
  if (!energy) {
    row["energy_reason"] = kEnergyNotAsked;
  } else if (!member.timed) {
    row["energy_reason"] = "the case was not timed";
  } else {
    record_energy(member);
  }
}

}  // namespace pareto
