#include "harness/ceilings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "harness/device.h"
#include "harness/device_ceilings.h"
#include "harness/errors.h"
#include "harness/machine.h"

namespace pareto {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double interpolated(const std::map<int, Ceiling>& by_threads, int threads) {
  const auto above = by_threads.lower_bound(threads);
  if (above == by_threads.end()) return by_threads.rbegin()->second.rate;
  if (above->first == threads || above == by_threads.begin()) return above->second.rate;
  const auto below = std::prev(above);
  const double weight = static_cast<double>(threads - below->first) /
                        static_cast<double>(above->first - below->first);
  return below->second.rate + weight * (above->second.rate - below->second.rate);
}

}  // namespace

void Ceilings::set(std::string_view name, int threads, const Ceiling& ceiling) {
  by_name_[std::string(name)][threads] = ceiling;
}

void Ceilings::keep_best(const Ceilings& other) {
  for (const auto& [name, by_threads] : other.by_name_) {
    for (const auto& [threads, ceiling] : by_threads) {
      Ceiling& kept = by_name_[name][threads];
      if (ceiling.rate > kept.rate) kept = ceiling;
    }
  }
}

std::vector<int> Ceilings::crowded() const {
  // Two hardware threads of one core share its multiplier: 0.5. Clocks that fall as cores join in
  // stay above 0.75.
  constexpr double kLeast = 0.7;
  std::vector<int> counts;
  const auto found = by_name_.find("scalar_fp32");
  if (found == by_name_.end() || found->second.count(1) == 0) return counts;
  const double one = found->second.at(1).rate;
  for (const auto& [threads, ceiling] : found->second) {
    if (ceiling.rate < kLeast * threads * one) counts.push_back(threads);
  }
  return counts;
}

double Ceilings::get(std::string_view name, int threads) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? kNaN : interpolated(found->second, threads);
}

double Ceilings::bandwidth(std::string_view level, int threads) const {
  const double one = get(fmt::format("read_{}", level), threads);
  const double eight = get(fmt::format("read_{}_8streams", level), threads);
  return std::fmax(one, eight);  // a NaN loses
}

std::string Ceilings::level_of(const RooflineQuery& query) const {
  if (!query.warm) return "dram";
  if (is_device_ceiling(query.unit)) {
    return query.footprint() <= static_cast<double>(device_info().l2_bytes) ? "l2" : "dram";
  }
  for (const int level : {1, 2, 3}) {
    const std::string name = fmt::format("l{}", level);
    const auto capacity = static_cast<double>(this_machine().cache_bytes(level, query.threads));
    if (query.footprint() <= capacity && bandwidth(name, query.threads) > 0) return name;
  }
  return "dram";
}

double Ceilings::memory_s(const RooflineQuery& query) const {
  const std::string level = level_of(query);
  if (is_device_ceiling(query.unit)) return query.bytes / get("cuda_read_" + level, 1);
  const double seconds = query.bytes / bandwidth(level, query.threads);
  if (!query.warm || level != "dram" || this_machine().caches.empty()) return seconds;
  const int last = this_machine().caches.back().level;
  const double last_bandwidth = bandwidth(fmt::format("l{}", last), query.threads);
  if (std::isnan(last_bandwidth)) return seconds;
  const double held =
      static_cast<double>(this_machine().cache_bytes(last, query.threads)) / query.footprint();
  return held * query.bytes / last_bandwidth + (1 - held) * seconds;
}

double Ceilings::attainable_s(const RooflineQuery& query) const {
  const double compute_s = query.flops / get(query.unit, query.threads);
  const double bytes_s = memory_s(query);
  if (std::isnan(compute_s) || std::isnan(bytes_s)) return kNaN;
  return std::max(compute_s, bytes_s);
}

std::string crowding_note(int threads) {
  return fmt::format(
      "{0} threads fell far short of {0} times one thread: their ceilings are those of shared "
      "cores",
      threads);
}

nlohmann::json Ceilings::to_json() const {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, by_threads] : by_name_) {
    for (const auto& [threads, ceiling] : by_threads) {
      nlohmann::json& entry = json[name][std::to_string(threads)];
      entry["rate"] = ceiling.rate;
      if (!std::isnan(ceiling.instructions_per_clock)) {
        entry["instructions_per_clock"] = ceiling.instructions_per_clock;
      }
    }
  }
  return json;
}

Ceilings Ceilings::from_json(const nlohmann::json& json) {
  Ceilings ceilings;
  try {
    for (const auto& [name, by_threads] : json.items()) {
      for (const auto& [threads, entry] : by_threads.items()) {
        ceilings.set(name, std::stoi(threads),
                     {entry.at("rate").get<double>(), entry.value("instructions_per_clock", kNaN)});
      }
    }
  } catch (const std::exception& error) {
    throw InputError(fmt::format("ceilings: {}", error.what()));
  }
  return ceilings;
}

}  // namespace pareto
