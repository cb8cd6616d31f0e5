#include "harness/check_matrix.h"

#include <algorithm>

#include "harness/case.h"
#include "harness/errors.h"
#include "harness/op.h"
#include "harness/registry.h"

namespace pareto {
namespace {

void add_if_legal(Problem problem, std::vector<Problem>& found) {
  try {
    problem.op().complete(problem);
  } catch (const Error&) {
    return;  // the op says that these options do not go together
  }
  if (std::find(found.begin(), found.end(), problem) == found.end()) {
    found.push_back(std::move(problem));
  }
}

bool is_scheme_key(const Key& key) {
  return key.kind == KeyKind::kWord && varies_inside_group(key.name) && key.name != "method";
}

}  // namespace

std::vector<Problem> check_matrix(const Op& op) {
  std::vector<Problem> schemes = {Problem(op)};
  for (const Key& key : op.keys()) {
    if (!is_scheme_key(key)) continue;
    std::vector<Problem> wider;
    for (const Problem& problem : schemes) {
      for (const std::string& word : key.words) {
        Problem next = problem;
        next.set(key.name, word);
        wider.push_back(std::move(next));
      }
    }
    schemes = std::move(wider);
  }
  std::vector<Problem> found;
  for (const Problem& problem : schemes) add_if_legal(problem, found);
  for (const Key& key : op.keys()) {
    if (key.kind != KeyKind::kWord || is_scheme_key(key)) continue;
    for (const std::string& word : key.words) {
      Problem problem(op);
      problem.set(key.name, word);
      add_if_legal(std::move(problem), found);
    }
  }
  return found;
}

std::vector<Problem> check_matrix(const Variant& variant) {
  std::vector<Problem> found = check_matrix(find_op(variant.op));
  for (Problem& problem : found) {
    for (const Limit& limit : variant.limits) {
      if (!limit.values.empty()) continue;
      const std::int64_t size = problem.size(limit.key);
      problem.set(limit.key,
                  std::clamp(size, limit.min, limit.max) / limit.multiple_of * limit.multiple_of);
    }
  }
  return found;
}

}  // namespace pareto
