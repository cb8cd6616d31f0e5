#include "harness/check_matrix.h"

#include <algorithm>

#include "harness/case.h"
#include "harness/errors.h"
#include "harness/op.h"
#include "harness/registry.h"
#include "harness/variant_battery.h"

namespace pareto {
namespace {

// Sizes up to here are tried where a variant limits them; beyond, a limit is one of addresses.
constexpr std::int64_t kMostTriedSize = 1024;

/// Problems without repetition, all of which the op takes.
class Matrix {
 public:
  /// False if the op says that these options do not go together.
  bool add(Problem problem) {
    try {
      problem.op().complete(problem);
    } catch (const Error&) {
      return false;
    }
    if (std::find(found_.begin(), found_.end(), problem) == found_.end()) {
      found_.push_back(std::move(problem));
    }
    return true;
  }

  [[nodiscard]] const std::vector<Problem>& found() const { return found_; }

 private:
  std::vector<Problem> found_;
};

bool is_scheme_key(const Key& key) {
  return key.kind == KeyKind::kWord && varies_inside_group(key.name) && key.name != "method";
}

std::vector<Problem> scheme_combinations(const Op& op) {
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
  return schemes;
}

// A word that only goes with another ("x_zero=present" with "operands=u8") gets the first such.
void add_with_company(const Problem& problem, const Key& key, Matrix& matrix) {
  for (const Key& other : problem.op().keys()) {
    if (other.kind != KeyKind::kWord || other.name == key.name) continue;
    for (const std::string& word : other.words) {
      Problem both = problem;
      both.set(other.name, word);
      if (matrix.add(std::move(both))) return;
    }
  }
}

void add_options(const Problem& base, Matrix& matrix) {
  for (const Key& key : base.op().keys()) {
    if (key.kind != KeyKind::kWord || is_scheme_key(key)) continue;
    for (const std::string& word : key.words) {
      Problem problem = base;
      problem.set(key.name, word);
      if (!matrix.add(problem)) add_with_company(problem, key, matrix);
    }
  }
}

bool is_near_range(const Limit& limit) {
  return limit.values.empty() && limit.min >= 1 && limit.max <= kMostTriedSize;
}

// Limited sizes grow together: many kernels want those of K and V to be equal.
void add_sizes(const Variant& variant, const Problem& base, Matrix& matrix) {
  for (std::int64_t size = 1; size <= kMostTriedSize; size *= 2) {
    Problem problem = base;
    for (const Limit& limit : variant.limits) {
      if (is_near_range(limit)) problem.set(limit.key, size);
    }
    matrix.add(within_limits(variant, problem));
  }
}

}  // namespace

std::vector<Problem> check_matrix(const Op& op) {
  Matrix matrix;
  for (Problem& problem : scheme_combinations(op)) matrix.add(std::move(problem));
  add_options(Problem(op), matrix);
  return matrix.found();
}

std::vector<Problem> check_matrix(const Variant& variant) {
  Matrix complete;
  for (Problem& problem : scheme_combinations(find_op(variant.op))) {
    complete.add(std::move(problem));
  }
  Matrix matrix;
  for (const Problem& problem : complete.found()) matrix.add(within_limits(variant, problem));
  const std::vector<Problem>& schemes = matrix.found();
  const auto taken = std::find_if(schemes.begin(), schemes.end(), [&](const Problem& problem) {
    return refusal(variant, problem).empty();
  });
  const Problem base = taken == schemes.end() ? schemes.front() : *taken;  // copied: more come
  add_options(base, matrix);
  add_sizes(variant, base, matrix);
  return matrix.found();
}

}  // namespace pareto
