#include "cli/case_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "harness/errors.h"
#include "harness/hash.h"
#include "harness/machine.h"
#include "harness/registry.h"
#include "harness/tensor_file.h"

namespace pareto {
namespace {

std::uint64_t parse_seed(const std::string& text) {
  std::uint64_t seed = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), seed);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) {
    throw InputError(fmt::format("seed = '{}' is not legal: an integer from 0", text));
  }
  return seed;
}

// True if the setting describes the source of the tensors rather than the problem.
bool set_source(Source& source, const std::string& key, const std::string& value) {
  if (key == "distribution") {
    const std::vector<std::string>& known = known_distributions();
    if (std::find(known.begin(), known.end(), value) == known.end()) {
      throw InputError(
          fmt::format("distribution = '{}' is not legal{}", value, suggestion(value, known)));
    }
    source.distribution = value;
  } else if (key == "seed") {
    source.seed = parse_seed(value);
  } else if (key == "file") {
    source.file = value;
  } else if (key == "tensor") {
    source.tensor = value;
  } else {
    return false;
  }
  return true;
}

void adopt_file(Problem& problem, Source& source,
                const std::vector<std::pair<std::string, std::string>>& settings) {
  if (source.file.empty() || source.tensor.empty()) {
    throw InputError(
        "distribution=file needs --set file=FILE.h5 tensor=GROUP, or file=FOLDER tensor=W.smtx (or "
        ".mtx)");
  }
  const TensorMap inputs = read_tensors(source.file + ":/" + source.tensor);
  source.content = content_hash(inputs);
  take_sizes(problem, inputs, settings);
}

}  // namespace

void add_case_options(CLI::App& verb, CaseOptions& options, const std::string& variants_help) {
  verb.add_option("op", options.op, "attention, qgemm or sparse")->required();
  verb.add_option("--variant", options.variants, variants_help)->required();
  verb.add_option("--set", options.settings, "key=value …: sizes and options of the op");
  verb.add_option("--threads", options.threads, "threads of the kernel")
      ->check(CLI::Range(1, 4096));
}

std::vector<std::pair<std::string, std::string>> parse_settings(
    const std::vector<std::string>& settings) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& setting : settings) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw InputError(fmt::format("--set '{}': must be key=value", setting));
    }
    const std::string key = setting.substr(0, equals);
    const bool again = std::any_of(pairs.begin(), pairs.end(),
                                   [&](const auto& pair) { return pair.first == key; });
    if (again) throw InputError(fmt::format("--set '{}': {} is given twice", setting, key));
    pairs.emplace_back(key, setting.substr(equals + 1));
  }
  return pairs;
}

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::vector<Case> cases_from(const CaseOptions& options) {
  const Op& op = find_op(options.op);
  Problem problem(op);
  Source source;
  std::vector<std::pair<std::string, std::string>> settings;
  for (const auto& [key, value] : parse_settings(options.settings)) {
    if (set_source(source, key, value)) continue;
    problem.set_text(key, value);
    settings.emplace_back(key, value);
  }
  if (source.distribution == "file") adopt_file(problem, source, settings);
  problem.op().complete(problem);
  if (options.threads > this_machine().cores) {
    throw CannotRunError(fmt::format("threads {} above the {} cores of this machine",
                                     options.threads, this_machine().cores));
  }
  std::vector<Case> cases;
  for (const std::string& name : split_list(options.variants)) {
    Case subject;
    subject.variant = &find_variant(op, name);
    subject.problem = problem;
    subject.source = source;
    subject.threads = options.threads;
    subject.cache = options.cache;
    identify(subject);
    cases.push_back(std::move(subject));
  }
  if (cases.empty()) throw InputError("--variant names no variant");
  return cases;
}

}  // namespace pareto
