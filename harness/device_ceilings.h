// What the device can do at best, measured here and now.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pareto {

/// True for names of ceilings and units that belong to the device: "cuda_…".
inline bool is_device_ceiling(std::string_view name) { return name.starts_with("cuda_"); }

/// Names that can be measured on this machine; none without a device.
std::vector<std::string> device_ceiling_names();

/// Rates of these names, the best within about `budget_s` for all of them; what the device or the
/// library refuses is left out. Starts the device.
std::map<std::string, double> measure_device_ceilings(std::span<const std::string> names,
                                                      double budget_s);

}  // namespace pareto
