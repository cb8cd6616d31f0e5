#include "harness/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <regex>
#include <unordered_set>

#include "harness/errors.h"
#include "harness/estimate.h"
#include "harness/glob.h"
#include "harness/machine.h"
#include "harness/registry.h"
#include "harness/tensor_file.h"

namespace pareto {
namespace {

// A call estimated above this multiple of the case's budget is not worth starting.
constexpr double kLongestCallBudgets = 10;

// Sizes and content hash of one file tensor, read once.
struct FileTensor {
  TensorMap inputs;
  std::string content;
};

class FileTensors {
 public:
  const FileTensor& get(const std::string& file, const std::string& tensor) {
    const std::string path = file + ":/" + tensor;
    auto found = cache_.find(path);
    if (found == cache_.end()) {
      FileTensor entry{read_tensors(path), ""};
      entry.content = content_hash(entry.inputs);
      found = cache_.emplace(path, std::move(entry)).first;
    }
    return found->second;
  }

 private:
  std::map<std::string, FileTensor> cache_;
};

struct Candidate {
  Case subject;
  std::string reason;  ///< why it is skipped; empty: it runs
};

class Expander {
 public:
  explicit Expander(const Experiment& experiment, const PlanOptions& options)
      : experiment_(experiment), options_(options) {
    if (!options.filter.empty()) {
      try {
        filter_ = std::regex(options.filter, std::regex::ECMAScript | std::regex::optimize);
      } catch (const std::regex_error&) {
        throw InputError(fmt::format("--filter '{}': not a regular expression", options.filter));
      }
    }
  }

  std::map<std::string, std::vector<Candidate>> expand() {
    for (const Sweep& sweep : experiment_.sweeps) expand_sweep(sweep);
    return std::move(found_);
  }

 private:
  // In the order of the globs; "!glob" takes away what the globs before it have chosen.
  static std::vector<const Variant*> chosen_variants(const Sweep& sweep) {
    std::vector<const Variant*> chosen;
    for (std::string_view glob : sweep.variants) {
      const bool excludes = glob.starts_with('!');
      if (excludes) glob.remove_prefix(1);
      bool known = false;
      for (const Variant* variant : variants()) {
        if (variant->op != sweep.op->name()) continue;
        if (!matches_glob(glob, variant->name) && !matches_glob(glob, full_name(*variant))) {
          continue;
        }
        known = true;
        if (excludes) {
          std::erase(chosen, variant);
        } else if (std::find(chosen.begin(), chosen.end(), variant) == chosen.end()) {
          chosen.push_back(variant);
        }
      }
      // Baselines of libraries that this machine lacks may well be excluded.
      if (!known && !excludes) throw_unknown(sweep, glob);
    }
    if (chosen.empty()) throw InputError(sweep.where + ": no variant is left of those chosen");
    return chosen;
  }

  [[noreturn]] static void throw_unknown(const Sweep& sweep, std::string_view glob) {
    std::vector<std::string> names;
    for (const Variant* variant : variants()) {
      if (variant->op == sweep.op->name()) names.push_back(variant->name);
    }
    throw InputError(fmt::format("{}: unknown variant '{}' of {}{}",
                                 sweep.variants_where.empty() ? sweep.where : sweep.variants_where,
                                 glob, sweep.op->name(), suggestion(glob, names)));
  }

  void expand_sweep(const Sweep& sweep) {
    chosen_ = chosen_variants(sweep);
    for (const ShapeRow& row : sweep.shapes) {
      Problem problem(*sweep.op);
      settings_.clear();
      for (const Axis& size : row.sizes) {
        problem.set_text(size.key, size.values.front());
        settings_.emplace_back(size.key, size.values.front());
      }
      expand_axis(sweep, row, problem, 0);
    }
  }

  void expand_axis(const Sweep& sweep, const ShapeRow& row, const Problem& problem,
                   std::size_t axis) {
    if (axis < sweep.axes.size()) {
      for (const std::string& value : sweep.axes[axis].values) {
        Problem next = problem;
        next.set_text(sweep.axes[axis].key, value);
        settings_.emplace_back(sweep.axes[axis].key, value);
        expand_axis(sweep, row, next, axis + 1);
        settings_.pop_back();
      }
      return;
    }
    for (const std::string& distribution : sweep.distributions) {
      if (distribution != "file") {
        add_source(sweep, row, problem, {.distribution = distribution});
        continue;
      }
      for (const std::string& file : sweep.files) {
        for (const std::string& tensor : sweep.tensors) {
          add_source(sweep, row, problem,
                     {.distribution = distribution, .file = file, .tensor = tensor});
        }
      }
    }
  }

  void add_source(const Sweep& sweep, const ShapeRow& row, Problem problem, Source source) {
    source.seed = experiment_.measure.seed;
    std::string reason;
    if (source.distribution == "file") {
      const FileTensor& entry = files_.get(source.file, source.tensor);
      source.content = entry.content;
      try {
        take_sizes(problem, entry.inputs, settings_);
      } catch (const InputError& error) {
        throw InputError(
            fmt::format("{}: {}:{}: {}", sweep.where, source.file, source.tensor, error.what()));
      }
    }
    try {
      problem.op().complete(problem);
    } catch (const Error& error) {
      reason = error.what();
    }
    for (const int threads : sweep.threads) {
      for (const std::string& cache : sweep.caches) {
        add_cases(row, problem, source, threads, cache, reason);
      }
    }
  }

  void add_cases(const ShapeRow& row, const Problem& problem, const Source& source, int threads,
                 const std::string& cache, const std::string& reason) {
    const ProblemWords words = words_of(problem);
    for (const Variant* variant : chosen_) {
      Candidate candidate;
      candidate.subject = {.variant = variant,
                           .problem = problem,
                           .source = source,
                           .threads = threads,
                           .cache = cache,
                           .shape = row.name,
                           .hash = "",
                           .group = ""};
      if (!options_.filter.empty() && !std::regex_search(candidate.subject.text(), filter_)) {
        continue;
      }
      identify(candidate.subject, words);
      if (!seen_.insert(candidate.subject.hash).second) continue;
      candidate.reason = reason.empty() ? why_not(candidate.subject) : reason;
      found_[candidate.subject.group].push_back(std::move(candidate));
    }
  }

  std::string why_not(const Case& subject) const {
    const std::string reason = obstacle(*subject.variant, subject.problem, subject.threads);
    if (!reason.empty()) return reason;
    const double call_s = estimated_call_s(subject);
    const double longest_s = kLongestCallBudgets * experiment_.measure.budget_s;
    if (call_s > longest_s) {
      return fmt::format("one call would take about {:.3g} s, above {} x budget_s = {:.3g} s",
                         call_s, kLongestCallBudgets, longest_s);
    }
    return "";
  }

  const Experiment& experiment_;
  const PlanOptions& options_;
  std::regex filter_;
  std::vector<const Variant*> chosen_;
  std::vector<std::pair<std::string, std::string>> settings_;  ///< of the problem being expanded
  std::map<std::string, std::vector<Candidate>> found_;        ///< by group
  std::unordered_set<std::string> seen_;
  FileTensors files_;
};

const std::string& scheme_of(const Case& subject) {
  static const std::string kNone;
  for (const char* name : {"scheme", "format", "kv_dtype"}) {
    for (const Key& key : subject.problem.op().keys()) {
      if (key.name == name) return subject.problem.word(name);
    }
  }
  return kNone;
}

// The parts of a group that is too big: one per scheme (of a KV cache: its type), each with the
// cases that are not compressed.
std::vector<Group> split_by_scheme(const Group& group) {
  std::map<std::string, Group> parts;
  std::vector<Case> shared;
  for (const Case& subject : group.cases) {
    const std::string& scheme = scheme_of(subject);
    if (scheme == "fp32" || scheme == "same") {
      shared.push_back(subject);
    } else {
      parts[scheme].cases.push_back(subject);
    }
  }
  if (parts.empty()) return {group};
  std::vector<Group> result;
  for (auto& [scheme, part] : parts) {
    part.hash = group.hash;
    part.parts = static_cast<int>(parts.size());
    part.cases.insert(part.cases.end(), shared.begin(), shared.end());
    result.push_back(std::move(part));
  }
  return result;
}

void estimate(Group& group, const MeasureSettings& measure) {
  group.memory_bytes = 0;
  group.estimated_s = 0;
  for (const Case& subject : group.cases) {
    group.memory_bytes += estimated_memory_bytes(subject);
    group.estimated_s += estimated_case_s(subject, measure.budget_s, measure.processes);
  }
}

}  // namespace

std::size_t Plan::cases() const {
  std::size_t count = 0;
  for (const Group& group : groups) count += group.cases.size();
  return count;
}

Plan make_plan(const Experiment& experiment, const PlanOptions& options) {
  const double memory_bytes = options.memory_bytes > 0
                                  ? options.memory_bytes
                                  : static_cast<double>(this_machine().memory_bytes);
  Plan plan;
  std::int64_t rank = 0;
  for (auto& [hash, members] : Expander(experiment, options).expand()) {
    if (rank++ % options.shards != options.shard - 1) continue;
    Group group{.hash = hash};
    for (Candidate& member : members) {
      if (member.reason.empty()) {
        group.cases.push_back(std::move(member.subject));
      } else {
        plan.skipped.push_back({std::move(member.subject), std::move(member.reason)});
      }
    }
    if (group.cases.empty()) continue;
    estimate(group, experiment.measure);
    const bool too_big = group.memory_bytes > memory_bytes / 2;
    std::vector<Group> parts;
    if (too_big) {
      parts = split_by_scheme(group);
      for (Group& part : parts) estimate(part, experiment.measure);
    } else {
      parts.push_back(std::move(group));
    }
    for (Group& part : parts) {
      plan.estimated_s += part.estimated_s;
      plan.memory_bytes = std::max(plan.memory_bytes, part.memory_bytes);
      plan.groups.push_back(std::move(part));
    }
  }
  return plan;
}

}  // namespace pareto
