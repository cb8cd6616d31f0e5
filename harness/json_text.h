// JSON as text, whatever bytes its strings hold.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace pareto {

/// `value` as JSON, on one line if `indent` is negative. Bytes that are no UTF-8, as names of files
/// and datasets may hold, become U+FFFD.
template <typename Json>
std::string json_text(const Json& value, int indent = -1) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace pareto
