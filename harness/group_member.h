// One case while its group is measured, and how what was measured gets into its record.
#pragma once

#include <memory>

#include "harness/case_record.h"
#include "harness/ceilings.h"
#include "harness/contents.h"
#include "harness/measured_call.h"
#include "harness/sampler.h"

namespace pareto {

/// Everything of one case while its group is measured.
struct GroupMember {
  const Case* subject = nullptr;
  Variant declared;  ///< as registered when the session began
  int index = 0;
  Contents* contents = nullptr;
  CaseRecord record;
  std::unique_ptr<MeasuredCall> call;
  bool timed = false;
};

/// Samples and times of one process, number `process` of the case's.
void record_series(GroupMember& member, const Series& series, int process);

/// Takes times and samples out of the record again: the case does not count as timed.
void forget_times(GroupMember& member);

/// Sizes and errors and, of a timed case, rates beside `ceilings` and (if asked for) energy.
void record_work(GroupMember& member, const Ceilings& ceilings, bool energy);

}  // namespace pareto
