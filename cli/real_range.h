// A check of options that take a real number.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>

namespace pareto {

/// From `min` to `max`; CLI::Range would let NaN through, which is neither below nor above.
inline CLI::Validator real_range(double min, double max) {
  const std::string range = fmt::format("from {} to {}", min, max);
  return {[=](const std::string& text) {
            double value = 0;
            const bool legal =
                CLI::detail::lexical_cast(text, value) && value >= min && value <= max;
            return legal ? std::string() : fmt::format("'{}' is not a number {}", text, range);
          },
          range};
}

}  // namespace pareto
