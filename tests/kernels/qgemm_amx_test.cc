// The AMX kernels on the software twin of the tiles, through the same checks as every variant: this
// runs on machines without AMX. And, where there is AMX, the twin against the instructions.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "harness/check_battery.h"
#include "harness/isa.h"
#include "harness/registry.h"
#include "kernels/qgemm/amx_bf16.h"
#include "kernels/qgemm/amx_bf16_pieces.h"
#include "kernels/qgemm/amx_dequant.h"
#include "kernels/qgemm/amx_int8.h"

namespace pareto {
namespace {

constexpr auto kAvx512 = static_cast<IsaSet>(Isa::kAvx512);
constexpr IsaSet kAvx512Bf16 = Isa::kAvx512 | Isa::kAvx512Bf16;

// A variant that is checked but never listed.
Variant twin_of(const char* name) {
  Variant twin = find_variant(find_op("qgemm"), name);
  twin.needs = kAvx512;
  static const std::map<std::string, decltype(twin.prepare)> kTwins = {
      {"amx_int8", prepare_amx_int8<AmxSoftware>},
      {"amx_bf16", prepare_amx_bf16<AmxSoftware>},
      {"amx_bf16x3", prepare_amx_pieces<AmxSoftware, 3>},
      {"amx_bf16x6", prepare_amx_pieces<AmxSoftware, 6>},
      {"amx_bf16_dequant", prepare_amx_dequant<AmxSoftware>}};
  twin.prepare = kTwins.at(name);
  return twin;
}

void expect_battery(const char* name, const std::string& scheme, const std::string& operands) {
  if ((isa_here() & kAvx512) == 0) GTEST_SKIP() << "packing and epilogue need AVX-512";
  const Variant twin = twin_of(name);
  Problem problem(find_op("qgemm"));
  problem.set_text("scheme", scheme);
  problem.set_text("operands", operands);
  ThreadPool pool(2);
  CheckOptions options;
  options.mutants = false;
  const CheckReport report = check_variant(twin, problem, pool, options);
  EXPECT_EQ(report.status, CheckStatus::kPass) << scheme << "\n" << report.message;
}

TEST(QgemmAmx, TwinOfInt8PassesTheBattery) {
  for (const char* scheme : {"w8a8", "w8a8_tensor", "w8a8_static", "w8a8_asym"}) {
    expect_battery("amx_int8", scheme, "float");
  }
  expect_battery("amx_int8", "w8a8", "s8");
  expect_battery("amx_int8", "w8a8", "u8");
}

TEST(QgemmAmx, TwinOfBf16PassesTheBattery) { expect_battery("amx_bf16", "bf16", "float"); }

TEST(QgemmAmx, TwinsOfPiecesPassTheBattery) {
  expect_battery("amx_bf16x3", "fp16", "float");
  expect_battery("amx_bf16x3", "fp32", "float");
  expect_battery("amx_bf16x6", "fp32", "float");
}

// One scheme of every layout: with and without scales and offsets, in groups of less than a step,
// of one and of several; weights in one piece and in two.
TEST(QgemmAmx, TwinOfDequantPassesTheBattery) {
  if ((isa_here() & kAvx512Bf16) != kAvx512Bf16) GTEST_SKIP() << "decoding needs AVX-512 BF16";
  for (const char* scheme :
       {"w4a16_asym_g128", "w4a16_g32", "nf4_g64", "nvfp4", "mxfp6_e2m3", "fp8_e4m3", "mxfp8"}) {
    expect_battery("amx_bf16_dequant", scheme, "float");
  }
}

// Several chunks of K whose sums wait in between, blocks of strips and panels that are not whole, a
// last strip that is lower than the others, and a y of whole lines that L2 does not hold.
TEST(QgemmAmx, SumsOfSeveralPartsOfKWait) {
  if ((isa_here() & kAvx512) == 0) GTEST_SKIP() << "packing and epilogue need AVX-512";
  struct Case {
    const char* name;
    const char* scheme;
    const char* operands;
    std::int64_t M;
    std::int64_t N;
    std::int64_t K;
  };
  for (const Case& c : {Case{"amx_int8", "w8a8", "s8", 500, 100, 2100},
                        Case{"amx_int8", "w8a8", "float", 500, 100, 2048},
                        Case{"amx_int8", "w8a8", "float", 500, 1104, 100},
                        Case{"amx_bf16", "bf16", "float", 500, 100, 1600},
                        Case{"amx_bf16", "bf16", "float", 500, 70, 2400},
                        Case{"amx_bf16", "bf16", "float", 500, 1104, 100},
                        Case{"amx_bf16x3", "fp16", "float", 500, 100, 600},
                        Case{"amx_bf16x6", "fp32", "float", 500, 100, 300},
                        Case{"amx_bf16_dequant", "w4a16_g128", "float", 300, 100, 1000},
                        Case{"amx_bf16_dequant", "nvfp4", "float", 300, 100, 1000}}) {
    if (std::string(c.name) == "amx_bf16_dequant" && (isa_here() & kAvx512Bf16) != kAvx512Bf16)
      continue;
    Problem problem(find_op("qgemm"));
    problem.set("M", c.M).set("N", c.N).set("K", c.K);
    problem.set_text("scheme", c.scheme);
    problem.set_text("operands", c.operands);
    ThreadPool pool(2);
    CheckOptions options;
    options.battery = false;
    options.mutants = false;
    options.own = {own_input(problem, {.distribution = "normal", .seed = 5})};
    const CheckReport report = check_variant(twin_of(c.name), problem, pool, options);
    EXPECT_EQ(report.status, CheckStatus::kPass) << c.name << "\n" << report.message;
  }
}

// Every step of every strip and panel lies in one block, one part of K and one chunk of it, and
// strips of a block fit half of L2 where 64 steps of one do.
TEST(AmxBlocks, CoverAndFit) {
  for (const std::int64_t strips : {1, 2, 3, 7, 8, 9, 16, 64}) {
    for (const std::int64_t steps : {0, 1, 15, 16, 17, 64, 65, 224, 448}) {
      for (const std::int64_t panels : {1, 63, 64, 65, 448}) {
        const AmxBlocks blocks = AmxBlocks::of(strips, kAmxStripRows, panels, steps);
        const testing::Message where = testing::Message()
                                       << strips << " " << steps << " " << panels;
        EXPECT_TRUE(blocks.strips >= 1 && blocks.strips <= strips) << where;
        EXPECT_TRUE(blocks.panels >= 1 && blocks.panels <= panels) << where;
        EXPECT_TRUE(blocks.chunk >= 1 && blocks.chunk <= blocks.steps) << where;
        if (blocks.strips == 1) continue;
        EXPECT_LE(blocks.chunk, 16) << where;
        EXPECT_LE(blocks.strips * blocks.steps * kAmxStripRows * kAmxRowBytes,
                  std::max<std::int64_t>(l2_bytes() / 2, 1 << 16))
            << where;
      }
    }
  }
}

// One product of full tiles with codes of every sign and size, −128 included.
template <typename Amx>
std::vector<std::byte> one_product(bool bf16) {
  std::vector<std::byte> a(kAmxRows * kAmxRowBytes);
  std::vector<std::byte> b(a.size());
  for (std::size_t i = 0; i < a.size(); i += 2) {
    // Even bytes vary; odd ones are kept within ordinary bf16 exponents, both signs.
    a[i] = static_cast<std::byte>(i * 37 + 11);
    b[i] = static_cast<std::byte>(i * 91 + 5);
    a[i + 1] = static_cast<std::byte>(i % 4 == 0 ? 0x40 : 0xbf);
    b[i + 1] = static_cast<std::byte>(i % 6 == 0 ? 0x3f : 0xc0);
  }
  std::vector<std::byte> c(a.size());
  AmxShapes shapes;
  shapes.fill({kAmxRows, kAmxRowBytes});
  Amx amx;
  amx.configure(shapes);
  amx.template load<1>(a.data(), kAmxRowBytes);
  amx.template load_stream<2>(b.data(), kAmxRowBytes);
  amx.template zero<0>();
  for (int i = 0; i < 3; ++i) {
    if (bf16) {
      amx.template dot_bf16<0, 1, 2>();
    } else {
      amx.template dot_s8<0, 1, 2>();
    }
  }
  amx.template store<0>(c.data(), kAmxRowBytes);
  amx.release();
  return c;
}

TEST(AmxTile, TwinEqualsTheInstructions) {
  if ((isa_here() & (Isa::kAmxInt8 | Isa::kAmxBf16)) != (Isa::kAmxInt8 | Isa::kAmxBf16)) {
    GTEST_SKIP() << "needs AMX-INT8 and AMX-BF16";
  }
  EXPECT_EQ(one_product<AmxNative>(false), one_product<AmxSoftware>(false));
  EXPECT_EQ(one_product<AmxNative>(true), one_product<AmxSoftware>(true));
}

TEST(AmxTile, TwinMultipliesAsThePseudoCodeSays) {
  const std::vector<std::byte> c = one_product<AmxSoftware>(false);
  std::int32_t want = 0;
  for (int k = 0; k < kAmxRowBytes; ++k) {
    // Row 0 of A against column 0 of B, stored as [k/4][column][k%4].
    const auto i = static_cast<std::size_t>(k);
    const std::size_t j = i / 4 * kAmxRowBytes + i % 4;
    const auto byte = [](std::size_t at, int factor, int add, int every, int yes, int no) {
      if (at % 2 == 0) return static_cast<std::int8_t>(at * factor + add);
      return static_cast<std::int8_t>((at - 1) % every == 0 ? yes : no);
    };
    want += byte(i, 37, 11, 4, 0x40, 0xbf) * byte(j, 91, 5, 6, 0x3f, 0xc0);
  }
  std::int32_t got = 0;
  std::memcpy(&got, c.data(), sizeof(got));
  EXPECT_EQ(got, 3 * want);
}

}  // namespace
}  // namespace pareto
