#include "cli/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "harness/errors.h"

namespace pareto {
namespace {

// Characters, not bytes: continuation bytes of UTF-8 take no room.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

}  // namespace

TextTable::TextTable(std::vector<std::string> headers) : headers_(std::move(headers)) {
  for (std::string& header : headers_) {
    left_.push_back(header.starts_with('<'));
    if (left_.back()) header.erase(0, 1);
  }
}

void TextTable::add(std::vector<std::string> cells) {
  if (cells.size() != headers_.size()) throw std::logic_error("a row of another length");
  rows_.push_back(std::move(cells));
}

std::string TextTable::text() const {
  std::vector<std::size_t> widths(headers_.size(), 0);
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string lines;
  const auto append = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (widths[i] == 0) continue;
      const std::size_t width = std::max(widths[i], width_of(headers_[i]));
      const std::string padding(width - width_of(cells[i]), ' ');
      if (!line.empty()) line += "  ";
      line += left_[i] ? cells[i] + padding : padding + cells[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    lines += line + '\n';
  };
  append(headers_);
  for (const auto& row : rows_) append(row);
  return lines;
}

std::string seconds_text(double seconds) {
  if (std::isnan(seconds)) return "-";
  if (seconds < 1e-3) return fmt::format("{:.2f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.3f} ms", seconds * 1e3);
  return fmt::format("{:.3f} s", seconds);
}

std::string percent_text(double fraction) {
  return std::isnan(fraction) ? "-" : fmt::format("{:.1f} %", 100 * fraction);
}

std::string error_text(double error) {
  return std::isnan(error) ? "-" : fmt::format("{:.1e}", error);
}

void print_text(const std::string& text) {
  errno = 0;
  std::fwrite(text.data(), 1, text.size(), stdout);
  // Streams that do not throw leave an earlier failure behind, and no reason.
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw MachineError(fmt::format("standard output: {}", std::strerror(errno == 0 ? EIO : errno)));
  }
}

}  // namespace pareto
