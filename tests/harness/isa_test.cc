#include "harness/isa.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "harness/errors.h"

namespace pareto {
namespace {

constexpr IsaSet kEverything = (1U << 9U) - 1;

// The kernel lists an extension only if CPUID has it and XCR0 enables it.
TEST(Isa, AgreesWithTheKernelsFlags) {
  if (std::getenv("PARETO_ISA_MASK") != nullptr) GTEST_SKIP() << "PARETO_ISA_MASK is set";
  std::ifstream file("/proc/cpuinfo");
  std::stringstream text;
  text << file.rdbuf();
  const std::string flags = text.str();
  const auto has = [&flags](const std::string& flag) {
    return flags.find(' ' + flag + ' ') != std::string::npos ||
           flags.find(' ' + flag + '\n') != std::string::npos;
  };
  const IsaSet here = isa_here();
  const auto bit = [here](Isa isa) { return (here & static_cast<IsaSet>(isa)) != 0; };
  EXPECT_EQ(bit(Isa::kAvx2Fma), has("avx2") && has("fma") && has("f16c") && has("bmi2"));
  EXPECT_EQ(bit(Isa::kAvx512), has("avx512f") && has("avx512bw") && has("avx512dq") &&
                                   has("avx512vl") && has("avx512cd"));
  EXPECT_EQ(bit(Isa::kAvx512Vnni), bit(Isa::kAvx512) && has("avx512_vnni"));
  EXPECT_EQ(bit(Isa::kAvx512Bf16), bit(Isa::kAvx512) && has("avx512_bf16"));
  EXPECT_EQ(bit(Isa::kAvxVnni), has("avx_vnni"));
  EXPECT_EQ(bit(Isa::kAmxInt8), has("amx_int8"));
  EXPECT_EQ(bit(Isa::kAmxBf16), has("amx_bf16"));
}

TEST(Isa, MaskTakesNamedExtensionsAway) {
  const IsaSet left = isa_without(kEverything, "avx512_vnni,amx_int8");
  EXPECT_EQ(kEverything & ~left, Isa::kAvx512Vnni | Isa::kAmxInt8);
  EXPECT_EQ(isa_without(kEverything, ""), kEverything);
}

TEST(Isa, MaskTakesAwayWhatBuildsUponIt) {
  EXPECT_EQ(isa_names(isa_without(kEverything, "avx512")),
            (std::vector<std::string>{"avx2_fma", "avx_vnni", "amx_int8", "amx_bf16"}));
  EXPECT_EQ(isa_names(isa_without(kEverything, "avx2_fma")),
            (std::vector<std::string>{"amx_int8", "amx_bf16"}));
}

TEST(Isa, MaskWithAnUnknownNameIsRefusedWithTheNearest) {
  try {
    isa_without(kEverything, "avx512_vni");
    FAIL() << "an unknown name was accepted";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("'avx512_vnni'"), std::string::npos) << error.what();
  }
}

TEST(Isa, EveryBitHasItsOwnName) {
  const std::vector<std::string> names = isa_names(kEverything);
  ASSERT_EQ(names.size(), 9U);
  EXPECT_EQ(names.front(), "avx2_fma");
  EXPECT_EQ(names.back(), "amx_bf16");
}

}  // namespace
}  // namespace pareto
