#include "harness/case.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "harness/hash.h"
#include "harness/op.h"
#include "harness/registry.h"
#include "harness/tensor_file.h"

namespace pareto {
namespace {

constexpr std::array<std::string_view, 5> kInsideGroup = {"scheme", "method", "format", "dtype",
                                                          "kv_dtype"};

std::string source_text(const Source& source) {
  if (source.distribution != "file") {
    return fmt::format("distribution={} seed={}", source.distribution, source.seed);
  }
  return fmt::format("distribution=file tensor={} content={} seed={}", source.tensor,
                     source.content, source.seed);
}

// A word in quotes where a shell would split or expand it.
std::string quoted(const std::string& word) {
  const bool plain = word.find_first_not_of(
                         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                         "_-+./=:,@%") == std::string::npos;
  if (plain && !word.empty()) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

}  // namespace

bool varies_inside_group(const std::string& key) {
  return std::find(kInsideGroup.begin(), kInsideGroup.end(), key) != kInsideGroup.end();
}

std::string Case::text() const {
  std::string words;
  std::string pairs;
  for (const Key& key : problem.op().keys()) {
    const std::string value = text_of(key, problem.value(key.name));
    if (key.name == "scheme" || key.name == "method") words += " " + value;
    pairs += fmt::format(" {}={}", key.name, value);
  }
  const std::string tensor = source.tensor.empty() ? "" : " tensor=" + source.tensor;
  return fmt::format("{}{} {}{}{} seed={} threads={} cache={}", full_name(*variant), words,
                     source.distribution, tensor, pairs, source.seed, threads, cache);
}

std::string Case::command() const {
  const Op& op = problem.op();
  std::string command = fmt::format("pareto time {} --variant {} --threads {} --cache {} --set",
                                    op.name(), variant->name, threads, cache);
  for (const Key& key : op.keys()) {
    if (key.kind != KeyKind::kSize && problem.is_default(key.name)) continue;
    command += " " + quoted(key.name + "=" + text_of(key, problem.value(key.name)));
  }
  command += fmt::format(" distribution={} seed={}", source.distribution, source.seed);
  if (!source.file.empty()) command += " " + quoted("file=" + source.file);
  if (!source.tensor.empty()) command += " " + quoted("tensor=" + source.tensor);
  return command;
}

ProblemWords words_of(const Problem& problem) {
  ProblemWords words;
  for (const Key& key : problem.op().keys()) {
    const std::string pair = key.name + "=" + text_of(key, problem.value(key.name)) + " ";
    words.all += pair;
    if (!varies_inside_group(key.name)) words.shared += pair;
  }
  return words;
}

void identify(Case& subject) { identify(subject, words_of(subject.problem)); }

void identify(Case& subject, const ProblemWords& words) {
  const std::string rest = fmt::format("op={} {} threads={} cache={}", subject.problem.op().name(),
                                       source_text(subject.source), subject.threads, subject.cache);
  subject.hash =
      hex(hash_text(fmt::format("{}{} variant={}", words.all, rest, subject.variant->name)));
  subject.group = hex(hash_text(words.shared + rest));
}

std::string content_hash(const TensorMap& inputs) {
  std::uint64_t hash = 0;
  for (const auto& [name, value] : inputs) {
    hash = hash_text(name + value.shape().text(), hash);
    hash = hash_bytes({value.view().data, value.view().bytes()}, hash);
  }
  return hex(hash);
}

void take_sizes(Problem& problem, TensorMap inputs,
                const std::vector<std::pair<std::string, std::string>>& settings) {
  // `narrow` sees the file's tensors as they are, like every later reading of them.
  TensorMap adopted = inputs;
  problem.op().adopt(problem, adopted);
  for (const auto& [key, text] : settings) problem.set_text(key, text);
  problem.op().narrow(problem, inputs);
}

TensorMap original_inputs(const Problem& problem, const Source& source, std::int64_t content) {
  if (source.distribution != "file") {
    return problem.op().draw(problem, {source.distribution, source.seed, content});
  }
  TensorMap inputs = read_tensors(source.file + ":/" + source.tensor);
  problem.op().narrow(problem, inputs);
  problem.op().vary(problem, inputs, content);
  return inputs;
}

}  // namespace pareto
