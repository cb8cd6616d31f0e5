// The loops behind the ceilings. Each is one inline-asm block on named registers: a compiler that
// spills one accumulator to the stack shows a third of the true rate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "harness/isa.h"

namespace pareto {

/// A loop over registers (or, for the `_l1` ones, over `operands`).
struct ComputeProbe {
  std::string_view name;
  IsaSet needs = 0;
  double operations = 0;    ///< per iteration
  double instructions = 0;  ///< that do the arithmetic, per iteration
  /// `operands`: kProbeOperandBytes readable bytes, 64-byte aligned.
  void (*run)(std::int64_t iterations, const std::byte* operands) = nullptr;
};
inline constexpr std::size_t kProbeOperandBytes = 16384;

/// All of them; where one name occurs twice, the first whose needs are met is the one to use.
std::span<const ComputeProbe> compute_probes();

/// Reads or copies `bytes` (a multiple of kMemoryGrain) once.
struct MemoryProbe {
  IsaSet needs = 0;
  void (*read)(const std::byte* data, std::int64_t bytes) = nullptr;  ///< one ascending stream
  void (*read_8streams)(const std::byte* data, std::int64_t bytes) = nullptr;
  void (*copy)(std::byte* to, const std::byte* from, std::int64_t bytes) = nullptr;
};
inline constexpr std::int64_t kMemoryGrain = 8192;

/// The widest that this machine has.
const MemoryProbe& memory_probe();

/// A chain of `count` × 64 dependent multiplications, 3 cycles each.
void run_multiplication_chain(std::int64_t count);

}  // namespace pareto
