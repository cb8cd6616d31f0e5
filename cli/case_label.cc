#include "cli/case_label.h"

#include <fmt/format.h>

#include "harness/case.h"
#include "harness/registry.h"

namespace pareto {
namespace {

// The keys of the row's op; none if this program does not know the op.
std::span<const Key> keys_of(const std::string& name) {
  for (const Op* op : ops()) {
    if (op->name() == name) return op->keys();
  }
  return {};
}

bool is_default(const Key& key, const std::string& text) {
  return text.empty() || text == text_of(key, key.default_value);
}

}  // namespace

std::string inside_label(const ResultTable& table, std::size_t row) {
  std::string label = table.text("variant", row);
  for (const Key& key : keys_of(table.text("op", row))) {
    const ColumnData* data = table.find(key.name);
    if (!varies_inside_group(key.name) || data == nullptr || data->missing(row)) continue;
    const std::string text = data->print(row);
    const bool telling = key.name == "scheme" || key.name == "format" || !is_default(key, text);
    if (telling) label += " " + text;
  }
  return label;
}

std::string group_label(const ResultTable& table, std::size_t row) {
  std::string label = table.text("op", row);
  if (const std::string shape = table.text("shape", row); !shape.empty()) label += " " + shape;
  for (const Key& key : keys_of(table.text("op", row))) {
    const ColumnData* data = table.find(key.name);
    if (varies_inside_group(key.name) || data == nullptr || data->missing(row)) continue;
    const std::string text = data->print(row);
    if (key.kind == KeyKind::kSize || !is_default(key, text)) {
      label += fmt::format(" {}={}", key.name, text);
    }
  }
  const std::string tensor = table.text("tensor", row);
  label += " " + (tensor.empty() ? table.text("distribution", row) : tensor);
  return label + fmt::format(" seed={:.0f} threads={:.0f} {}", table.real("seed", row),
                             table.real("threads", row), table.text("cache", row));
}

}  // namespace pareto
