// pareto list: ops, schemes and variants; what each needs; why it cannot run here.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/verbs.h"
#include "harness/json_text.h"
#include "harness/occupancy.h"
#include "harness/registry.h"

namespace pareto {
namespace {

using nlohmann::json;

struct ListOptions {
  std::string op;
  bool verbose = false;
  bool as_json = false;
};

json to_json(const Variant& variant) {
  const std::string reason = missing_here(variant);
  json entry = {{"name", full_name(variant)},       {"op", variant.op},
                {"runnable", reason.empty()},       {"reason", reason},
                {"summary", variant.summary},       {"baseline", variant.baseline},
                {"library", variant.library},       {"needs", isa_names(variant.needs)},
                {"needs_cuda", variant.needs_cuda}, {"unit", variant.unit}};
  json limits = json::array();
  for (const Limit& limit : variant.limits) {
    limits.push_back({{"key", limit.key}, {"values", limit.values}});
  }
  entry["limits"] = limits;
  return entry;
}

json to_json(const Op& op) {
  json keys = json::array();
  for (const Key& key : op.keys()) {
    keys.push_back({{"name", key.name},
                    {"default", text_of(key, Problem(op).value(key.name))},
                    {"words", key.words},
                    {"help", key.help}});
  }
  return {{"op", op.name()}, {"keys", keys}};
}

void print_op(const Op& op, bool verbose) {
  fmt::print("{}\n", op.name());
  for (const Key& key : op.keys()) {
    const bool listed = verbose || key.name == "scheme" || key.name == "format" ||
                        key.name == "dtype" || key.name == "kv_dtype";
    if (!listed) continue;
    const std::string legal = key.words.empty() ? "" : fmt::format("{}", fmt::join(key.words, " "));
    fmt::print("  {} = {}  {}{}\n", key.name, text_of(key, Problem(op).value(key.name)), legal,
               verbose ? "  # " + key.help : "");
  }
}

// What ptxas said of the kernels of a source file, from the table that the build leaves beside the
// program (or an installation in share/pareto). Null without one.
json ptxas_table_of(const std::string& source) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const fs::path& folder : {program, program.parent_path() / "share" / "pareto"}) {
    std::ifstream file(folder / "ptxas.json");
    if (!file) continue;
    const json table = json::parse(file, nullptr, false);
    return table.value(source, json(nullptr));
  }
  return nullptr;
}

// This variant's kernels with how they are launched and how many fit on a multiprocessor; null
// where nothing is known of them.
json kernels_of(const Variant& variant) {
  if (variant.needs_cuda == 0) return nullptr;
  json kernels = ptxas_table_of(fmt::format("kernels/{}.cu", full_name(variant)));
  for (json& kernel : kernels) {
    const std::string name = kernel.value("kernel", "");  // with its template arguments
    const KernelLaunch launch =
        kernel_launch_of(full_name(variant), name.substr(0, name.find('<')));
    kernel["threads"] = launch.threads;
    kernel["dynamic_shared_bytes"] = launch.dynamic_shared_bytes;
    const MultiprocessorLimits* limits = multiprocessor_limits(kernel.value("arch", ""));
    if (limits == nullptr) continue;
    const Occupancy resident = occupancy(
        *limits, {.threads = launch.threads,
                  .registers = kernel.value("registers", 0),
                  .shared_bytes = kernel.value("shared_bytes", 0) + launch.dynamic_shared_bytes});
    kernel["resident_blocks"] = resident.blocks;
    kernel["resident_warps"] = resident.warps;
    kernel["possible_warps"] = limits->warps;
    kernel["limited_by"] = resident.limited_by;
  }
  return kernels;
}

void print_instructions(const json& counts) {
  if (counts.is_null()) return;  // built without a disassembler
  std::vector<std::string> words;
  for (const auto& [name, count] : counts.items()) {
    words.push_back(fmt::format("{} {}", count.get<int>(), name));
  }
  fmt::print("      instructions: {}\n",
             words.empty() ? "none of note" : fmt::to_string(fmt::join(words, ", ")));
}

void print_kernels(const json& kernels) {
  for (const json& kernel : kernels) {
    fmt::print("    {} {}: {} registers, {} + {} bytes of shared memory, {} stack, {} spilled\n",
               kernel.value("arch", ""), kernel.value("kernel", ""), kernel.value("registers", 0),
               kernel.value("shared_bytes", 0), kernel.value("dynamic_shared_bytes", 0),
               kernel.value("stack_bytes", 0), kernel.value("spill_bytes", 0));
    print_instructions(kernel.value("instructions", json()));
    if (!kernel.contains("resident_blocks")) continue;
    fmt::print("      {} threads a block: {} blocks, {} of {} warps on a multiprocessor, by {}\n",
               kernel.value("threads", 0), kernel.value("resident_blocks", 0),
               kernel.value("resident_warps", 0), kernel.value("possible_warps", 0),
               kernel.value("limited_by", ""));
  }
}

void print_variant(const Variant& variant, bool verbose) {
  const std::string reason = missing_here(variant);
  fmt::print("  {:<34} {:<10} {}\n", full_name(variant), reason.empty() ? "runs" : "skipped",
             reason.empty() ? variant.summary : reason);
  if (!verbose) return;
  fmt::print("    needs: {}; ceiling: {}{}\n", fmt::join(isa_names(variant.needs), " "),
             variant.unit, variant.library.empty() ? "" : "; library: " + variant.library);
  for (const Limit& limit : variant.limits) {
    fmt::print("    {}: {}\n", limit.key, fmt::join(limit.values, " "));
  }
  print_kernels(kernels_of(variant));
}

void list(const ListOptions& options) {
  if (!options.op.empty()) find_op(options.op);
  json all = {{"ops", json::array()}, {"variants", json::array()}};
  for (const Op* op : ops()) {
    if (!options.op.empty() && op->name() != options.op) continue;
    all["ops"].push_back(to_json(*op));
    if (!options.as_json) print_op(*op, options.verbose);
    for (const Variant* variant : variants()) {
      if (variant->op != op->name()) continue;
      all["variants"].push_back(to_json(*variant));
      if (options.verbose) all["variants"].back()["kernels"] = kernels_of(*variant);
      if (!options.as_json) print_variant(*variant, options.verbose);
    }
  }
  if (options.as_json) fmt::print("{}\n", json_text(all, 1));
}

}  // namespace

void add_list_verb(CLI::App& app, int&) {
  auto options = std::make_shared<ListOptions>();
  CLI::App* verb = app.add_subcommand("list", "Ops, schemes and variants; why one cannot run here");
  verb->add_option("--op", options->op, "only this op");
  verb->add_flag(
      "--verbose", options->verbose,
      "keys, needs and limits too; registers, occupancy and instructions of CUDA kernels");
  verb->add_flag("--json", options->as_json, "machine-readable");
  verb->callback([options] { list(*options); });
}

}  // namespace pareto
