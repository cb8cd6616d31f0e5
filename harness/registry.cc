#include "harness/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>

#include "harness/absent_variants.h"
#include "harness/cuda_library.h"
#include "harness/device.h"
#include "harness/errors.h"
#include "harness/machine.h"
#include "harness/plugin.h"

namespace pareto {
namespace {

struct Registry {
  std::vector<std::unique_ptr<Op>> ops;
  std::vector<const Op*> ops_by_name;
  std::deque<Variant> variants;  // addresses stay valid while it grows
  std::vector<const Variant*> sorted;
  bool manifests_read = false;
};

Registry& registry() {
  static Registry instance;
  return instance;
}

bool by_full_name(const Variant* a, const Variant* b) {
  return std::pair(std::string_view(a->op), std::string_view(a->name)) <
         std::pair(std::string_view(b->op), std::string_view(b->name));
}

Variant* find_registered(std::string_view op, std::string_view name) {
  for (Variant& variant : registry().variants) {
    if (variant.op == op && variant.name == name) return &variant;
  }
  return nullptr;
}

void read_manifests_once() {
  Registry& all = registry();
  if (all.manifests_read) return;
  all.manifests_read = true;
  // A program knows what it registered better than a manifest, and that better than a file's name.
  for (std::vector<Variant> (*source)() : {plugin_variants, optional_variants}) {
    for (Variant& variant : source()) {
      if (find_registered(variant.op, variant.name) == nullptr) {
        all.variants.push_back(std::move(variant));
      }
    }
  }
  all.sorted.clear();
}

std::string limit_refusal(const Limit& limit, const Problem& problem) {
  const Value& value = problem.value(limit.key);
  if (!limit.values.empty()) {
    const std::string& word = problem.word(limit.key);
    if (std::find(limit.values.begin(), limit.values.end(), word) != limit.values.end()) return "";
    std::string known;
    for (const std::string& legal : limit.values) known += (known.empty() ? "" : ", ") + legal;
    return fmt::format("{} {}: takes only {}", limit.key, word, known);
  }
  const auto* number = std::get_if<std::int64_t>(&value);
  if (number == nullptr) return "";
  if (*number < limit.min) return fmt::format("{} {} below {}", limit.key, *number, limit.min);
  if (*number > limit.max) return fmt::format("{} {} above {}", limit.key, *number, limit.max);
  if (*number % limit.multiple_of != 0) {
    return fmt::format("{} {} not a multiple of {}", limit.key, *number, limit.multiple_of);
  }
  return "";
}

std::string upper_with_dashes(std::string name) {
  for (char& c : name) c = c == '_' ? '-' : static_cast<char>(std::toupper(c));
  return name;
}

}  // namespace

OpRegistration::OpRegistration(std::unique_ptr<Op> op) { registry().ops.push_back(std::move(op)); }

Registration::Registration(Variant variant) {
  if (Variant* known = find_registered(variant.op, variant.name)) {
    // A plug-in being opened brings the functions; its library is known from the manifest, unless
    // that is being written.
    if (!known->plugin.empty()) variant.library = known->library;
    *known = std::move(variant);
    return;
  }
  registry().variants.push_back(std::move(variant));
  registry().sorted.clear();
}

std::span<const Op* const> ops() {
  Registry& all = registry();
  if (all.ops_by_name.size() != all.ops.size()) {
    all.ops_by_name.clear();
    for (const auto& op : all.ops) all.ops_by_name.push_back(op.get());
    std::sort(all.ops_by_name.begin(), all.ops_by_name.end(),
              [](const Op* a, const Op* b) { return a->name() < b->name(); });
  }
  return all.ops_by_name;
}

const Op& find_op(std::string_view name) {
  std::vector<std::string> names;
  for (const Op* op : ops()) {
    if (op->name() == name) return *op;
    names.emplace_back(op->name());
  }
  throw InputError(fmt::format("unknown op '{}'{}", name, suggestion(name, names)));
}

std::span<const Variant* const> variants() {
  read_manifests_once();
  Registry& all = registry();
  if (all.sorted.size() != all.variants.size()) {
    all.sorted.clear();
    for (const Variant& variant : all.variants) all.sorted.push_back(&variant);
    std::sort(all.sorted.begin(), all.sorted.end(), by_full_name);
  }
  return all.sorted;
}

const Variant& find_variant(const Op& op, std::string_view name) {
  std::vector<std::string> names;
  for (const Variant* variant : variants()) {
    if (variant->op != op.name()) continue;
    if (variant->name == name || full_name(*variant) == name) return *variant;
    names.push_back(variant->name);
  }
  throw InputError(
      fmt::format("unknown variant '{}' of {}{}", name, op.name(), suggestion(name, names)));
}

std::string full_name(const Variant& variant) { return variant.op + "/" + variant.name; }

std::string missing_here(const Variant& variant) {
  const std::string absence = absence_of(variant);
  if (!absence.empty()) return absence;
  const IsaSet missing = variant.needs & ~isa_here();
  if (missing != 0) {
    std::string names;
    for (const std::string& name : isa_names(missing)) {
      names += (names.empty() ? "" : ", ") + upper_with_dashes(name);
    }
    return "needs " + names;
  }
  for (const std::string& file : {variant.plugin, variant.opens}) {
    const std::string library = file.empty() ? "" : missing_library(file);
    if (!library.empty()) return fmt::format("needs {}, which is not on this machine", library);
  }
  if (variant.needs_cuda > 0) {
    const std::string reason = device_missing(variant.needs_cuda);
    if (!reason.empty()) return reason;
  }
  return missing_cuda_library_of(full_name(variant));
}

std::string refusal(const Variant& variant, const Problem& problem) {
  for (const Limit& limit : variant.limits) {
    std::string reason = limit_refusal(limit, problem);
    if (!reason.empty()) return reason;
  }
  return variant.declines == nullptr ? "" : variant.declines(problem);
}

std::string obstacle(const Variant& variant, const Problem& problem, int threads) {
  std::string reason = missing_here(variant);
  if (reason.empty()) reason = refusal(variant, problem);
  if (reason.empty() && threads > this_machine().cores) {
    reason =
        fmt::format("threads {} above the {} cores of this machine", threads, this_machine().cores);
  }
  return reason;
}

Arithmetic arithmetic_of(const Variant& variant, const Problem& problem) {
  const Variant& opened = open(variant);
  return opened.arithmetic == nullptr ? Arithmetic{} : opened.arithmetic(problem);
}

const Variant& open(const Variant& variant) {
  if (variant.prepare != nullptr) return variant;
  if (variant.plugin.empty()) {
    const std::string absence = absence_of(variant);
    throw CannotRunError(fmt::format("{}: {}", full_name(variant),
                                     absence.empty() ? "registered without prepare" : absence));
  }
  open_plugin(variant.plugin);
  if (variant.prepare == nullptr) {
    throw CannotRunError(
        fmt::format("{}: its plug-in {} does not define it", full_name(variant), variant.plugin));
  }
  return variant;
}

}  // namespace pareto
