// What an experiment comes to on this machine: groups of cases, and what is skipped and why.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "harness/case.h"
#include "harness/experiment.h"

namespace pareto {

struct PlanOptions {
  std::string filter;  ///< ECMAScript regular expression over Case::text; empty: all
  int shard = 1;       ///< I of I/N, from 1
  int shards = 1;      ///< N
  /// A group that needs more than half of this is split; 0: the machine's.
  double memory_bytes = 0;
};

struct SkippedCase {
  Case subject;
  std::string reason;
};

/// Cases measured together; only variant, scheme, method, format, dtype and kv_dtype differ.
struct Group {
  std::string hash;
  std::vector<Case> cases;
  double estimated_s = 0;
  double memory_bytes = 0;
  int parts = 1;  ///< > 1: too big for half the memory, split by scheme
};

struct Plan {
  std::vector<Group> groups;  ///< sorted by hash
  std::deque<SkippedCase> skipped;
  double estimated_s = 0;
  double memory_bytes = 0;  ///< of the biggest group
  [[nodiscard]] std::size_t cases() const;
};

/// Expands the sweeps. Throws InputError for a glob that no variant matches and for shard outside
/// 1…N; everything that cannot run here ends in `skipped` with its reason.
Plan make_plan(const Experiment& experiment, const PlanOptions& options);

}  // namespace pareto
