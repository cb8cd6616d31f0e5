// Instruction-set extensions of this CPU that the operating system has enabled too.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pareto {

enum class Isa : std::uint32_t {
  kAvx2Fma = 1U << 0,  ///< AVX2, FMA, F16C, BMI1, BMI2
  kAvx512 = 1U << 1,   ///< AVX-512 F, BW, DQ, VL, CD
  kAvx512Vnni = 1U << 2,
  kAvx512Bf16 = 1U << 3,
  kAvx512Fp16 = 1U << 4,
  kAvx512Vbmi2 = 1U << 5,  ///< VBMI and VBMI2
  kAvxVnni = 1U << 6,
  kAmxInt8 = 1U << 7,
  kAmxBf16 = 1U << 8,
};

/// A set of Isa bits.
using IsaSet = std::uint32_t;
constexpr IsaSet operator|(Isa a, Isa b) { return static_cast<IsaSet>(a) | static_cast<IsaSet>(b); }
constexpr IsaSet operator|(IsaSet a, Isa b) { return a | static_cast<IsaSet>(b); }

/// CPUID and XCR0 (and, for AMX, the permission of the kernel, which this asks for once). The
/// environment variable PARETO_ISA_MASK (names separated by commas, each taken away) narrows it.
IsaSet isa_here();
/// `set` without the extensions named ("avx512,amx_int8") and those that build upon them;
/// InputError on an unknown name.
IsaSet isa_without(IsaSet set, std::string_view names);
/// Names of the bits, lowest first: "avx2_fma", "avx512", "avx512_vnni", …
std::vector<std::string> isa_names(IsaSet set);

}  // namespace pareto
