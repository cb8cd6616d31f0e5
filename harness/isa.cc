#include "harness/isa.h"

#include <cpuid.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "harness/errors.h"

namespace pareto {
namespace {

constexpr IsaSet kNeedAvx512 =
    Isa::kAvx512Vnni | Isa::kAvx512Bf16 | Isa::kAvx512Fp16 | Isa::kAvx512Vbmi2;
constexpr IsaSet kNeedAvx2 = (kNeedAvx512 | Isa::kAvx512) | Isa::kAvxVnni;

constexpr std::array<std::pair<Isa, std::string_view>, 9> kNames{{
    {Isa::kAvx2Fma, "avx2_fma"},
    {Isa::kAvx512, "avx512"},
    {Isa::kAvx512Vnni, "avx512_vnni"},
    {Isa::kAvx512Bf16, "avx512_bf16"},
    {Isa::kAvx512Fp16, "avx512_fp16"},
    {Isa::kAvx512Vbmi2, "avx512_vbmi2"},
    {Isa::kAvxVnni, "avx_vnni"},
    {Isa::kAmxInt8, "amx_int8"},
    {Isa::kAmxBf16, "amx_bf16"},
}};

struct Registers {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);  // zeros beyond the last leaf
  return r;
}

std::uint64_t enabled_state() {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32U | low;
}

// Linux gives AMX only to processes that ask: ARCH_REQ_XCOMP_PERM for the tile data (state 18).
// Threads started before the call would not have it, hence the call at the first look.
bool ask_for_amx() {
  constexpr int kArchReqXcompPerm = 0x1023;
  constexpr int kTileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0;
}

constexpr bool all(std::uint32_t word, std::uint32_t bits) { return (word & bits) == bits; }
constexpr std::uint32_t bit(int i) { return 1U << i; }

IsaSet detect() {
  const Registers one = cpuid(1, 0);
  if (!all(one.ecx, bit(27) | bit(28))) return 0;  // OSXSAVE, AVX
  const std::uint64_t state = enabled_state();
  const Registers seven = cpuid(7, 0);
  const Registers seven_one = seven.eax >= 1 ? cpuid(7, 1) : Registers{};

  constexpr std::uint64_t kAvxState = 0x6;
  constexpr std::uint64_t kAvx512State = 0xe6;
  constexpr std::uint64_t kAmxState = 0x60000;
  IsaSet set = 0;
  const auto add = [&set](bool present, Isa isa) {
    if (present) set = set | isa;
  };
  if ((state & kAvxState) != kAvxState) return 0;
  add(all(one.ecx, bit(12) | bit(29)) && all(seven.ebx, bit(3) | bit(5) | bit(8)), Isa::kAvx2Fma);
  if ((set & static_cast<IsaSet>(Isa::kAvx2Fma)) == 0) return 0;
  add(all(seven_one.eax, bit(4)), Isa::kAvxVnni);
  const bool avx512 = (state & kAvx512State) == kAvx512State &&
                      all(seven.ebx, bit(16) | bit(17) | bit(28) | bit(30) | bit(31));
  add(avx512, Isa::kAvx512);
  add(avx512 && all(seven.ecx, bit(11)), Isa::kAvx512Vnni);
  add(avx512 && all(seven_one.eax, bit(5)), Isa::kAvx512Bf16);
  add(avx512 && all(seven.edx, bit(23)), Isa::kAvx512Fp16);
  add(avx512 && all(seven.ecx, bit(1) | bit(6)), Isa::kAvx512Vbmi2);
  const bool tiles = all(seven.edx, bit(24)) && (state & kAmxState) == kAmxState && ask_for_amx();
  add(tiles && all(seven.edx, bit(25)), Isa::kAmxInt8);
  add(tiles && all(seven.edx, bit(22)), Isa::kAmxBf16);
  return set;
}

}  // namespace

IsaSet isa_without(IsaSet set, std::string_view names) {
  while (!names.empty()) {
    const std::size_t comma = names.find(',');
    const std::string_view name = names.substr(0, comma);
    names.remove_prefix(comma == std::string_view::npos ? names.size() : comma + 1);
    if (name.empty()) continue;
    bool known = false;
    for (const auto& [isa, its_name] : kNames) {
      if (its_name != name) continue;
      set &= ~static_cast<IsaSet>(isa);
      if (isa == Isa::kAvx512) set &= ~kNeedAvx512;
      if (isa == Isa::kAvx2Fma) set &= ~kNeedAvx2;
      known = true;
    }
    if (!known) {
      const std::vector<std::string> candidates = isa_names(~IsaSet{0});
      throw InputError(
          fmt::format("PARETO_ISA_MASK: unknown name '{}'{}", name, suggestion(name, candidates)));
    }
  }
  return set;
}

IsaSet isa_here() {
  static const IsaSet present = detect();
  const char* mask = std::getenv("PARETO_ISA_MASK");
  return mask == nullptr ? present : isa_without(present, mask);
}

std::vector<std::string> isa_names(IsaSet set) {
  std::vector<std::string> names;
  for (const auto& [isa, name] : kNames) {
    if ((set & static_cast<IsaSet>(isa)) != 0) names.emplace_back(name);
  }
  return names;
}

}  // namespace pareto
