// What a process that runs kernels may not do: kernels compute, on the team that they are given.
#pragma once

namespace pareto {

/// From now on starting a process, signalling another one, leaving the process group and setting a
/// timer end this process with SIGSYS, for good; threads are allowed. Does nothing where the kernel
/// has no such filters, and under sanitizers, which start processes themselves.
void confine_process();

/// What a system call that is not allowed would have done ("started a process").
const char* meaning_of_call(int call) noexcept;

}  // namespace pareto
