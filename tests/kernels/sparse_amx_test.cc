// The AMX kernels of sparse layers on the software twin of the tiles, through the same checks as
// every variant: this runs on machines without AMX.
#include <gtest/gtest.h>

#include <cstring>
#include <ostream>
#include <string>
#include <vector>

#include "harness/check_battery.h"
#include "harness/checker.h"
#include "harness/isa.h"
#include "harness/registry.h"
#include "kernels/sparse/amx_bf16.h"

namespace pareto {
namespace {

constexpr IsaSet kVectorIsa = Isa::kAvx512 | Isa::kAvx512Bf16 | Isa::kAvx512Vbmi2;

struct Kernel {
  std::string variant;
  std::string format;
};
std::ostream& operator<<(std::ostream& out, const Kernel& kernel) {
  return out << kernel.variant << ' ' << kernel.format;
}

// A variant that is checked but never listed.
Variant twin_of(const std::string& name) {
  Variant twin = find_variant(find_op("sparse"), name);
  twin.needs = kVectorIsa;
  twin.prepare = name == "amx_bf16" ? prepare_sparse_amx_bf16<AmxSoftware>
                                    : prepare_sparse_amx_dense_bf16<AmxSoftware>;
  return twin;
}

class SparseAmx : public testing::TestWithParam<Kernel> {
 protected:
  void SetUp() override {
    if ((isa_here() & kVectorIsa) != kVectorIsa) {
      GTEST_SKIP() << "expansion needs AVX-512 VBMI2, prepare AVX-512 BF16";
    }
  }
  static Problem problem(const std::string& M, const std::string& N, const std::string& K) {
    Problem p(find_op("sparse"));
    p.set_text("format", GetParam().format);
    p.set_text("dtype", "bf16");
    p.set_text("M", M);
    p.set_text("N", N);
    p.set_text("K", K);
    return p;
  }
  static void expect_pass(const Problem& problem, int threads, bool battery) {
    ThreadPool pool(threads);
    CheckOptions options;
    options.battery = battery;
    options.mutants = false;
    if (battery) options.pool_sizes = {3};
    if (!battery) options.own.push_back(own_input(problem, Draw{}));
    const CheckReport report = check_variant(twin_of(GetParam().variant), problem, pool, options);
    EXPECT_EQ(report.status, CheckStatus::kPass) << problem.text() << "\n" << report.message;
    EXPECT_LE(report.rms_ratio, 1.0) << problem.text();
  }
};

TEST_P(SparseAmx, TwinPassesTheBattery) {
  for (const char* activation : {"none", "silu"}) {
    Problem p = problem("33", "65", "129");
    p.set_text("activation", activation);
    p.op().complete(p);
    expect_pass(p, 2, true);
  }
  Problem p = problem("33", "65", "129");
  p.set_text("bias", "present");
  p.set_text("activation", "gelu");
  p.set_text("out_dtype", "bf16");
  p.op().complete(p);
  expect_pass(p, 1, true);
}

// Around every edge: of a strip of one and two tiles, of a panel, of a step of K and half of one.
TEST_P(SparseAmx, TwinPassesAtTheEdgesOfTiles) {
  for (const char* M : {"1", "2", "15", "16", "17", "31", "32", "33", "49"}) {
    for (const char* K : {"1", "15", "16", "17", "31", "32", "33", "48", "65"}) {
      for (const char* N : {"1", "17", "33"}) {
        Problem p = problem(M, N, K);
        p.set("sparsity", 0.5);
        p.op().complete(p);
        expect_pass(p, 1, false);
      }
    }
  }
}

// More steps than one chunk, more strips than one block, and x larger than what stays in L2, so
// that sums leave the tiles between chunks of K; more panels than one block then.
TEST_P(SparseAmx, TwinPassesInBlocks) {
  struct Case {
    const char* M;
    const char* N;
    const char* K;
    double sparsity;
  };
  for (const Case& c :
       {Case{"3", "40", "2100", 0.9}, Case{"40", "70", "700", 0.5}, Case{"290", "48", "530", 0.8},
        Case{"128", "290", "4500", 0.5}, Case{"32", "40", "16500", 0.9}}) {
    Problem p = problem(c.M, c.N, c.K);
    p.set("sparsity", GetParam().format == "2to4" ? 0.5 : c.sparsity);
    p.op().complete(p);
    expect_pass(p, 1, false);
  }
}

// Blocks of 16 columns side by side, from a multiple of 32 on, are one step.
TEST(StepPanels, JoinsBlocksThatFillATile) {
  SparseProblem p;
  p.format = SparseFormat::kBsr;
  p.block = 16;
  p.N = 16;
  p.K = 112;
  std::vector<std::int32_t> column = {0, 1, 3, 4, 6};
  std::vector<std::int64_t> offset = {0, 5};
  std::vector<std::uint16_t> values(column.size() * 256);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint16_t>(i + 1);
  std::vector<Tensor> in(kSparseSlotCount);
  in[kSparseValues] = {DType::kBf16, Shape{5, 16, 16}, reinterpret_cast<std::byte*>(values.data())};
  in[kSparseIndex] = {DType::kS32, Shape{5}, reinterpret_cast<std::byte*>(column.data())};
  in[kSparseOffset] = {DType::kS64, Shape{2}, reinterpret_cast<std::byte*>(offset.data())};
  const StepPanels w(p, in);
  const StepPanels::Run whole = w.whole(0, 0, 4);
  const StepPanels::Run half = w.half(0, 0, 4);
  ASSERT_EQ(whole.steps, 1);
  EXPECT_EQ(whole.at[0], 0);
  EXPECT_EQ(std::vector<std::int32_t>(half.at, half.at + half.steps),
            (std::vector<std::int32_t>{3, 4, 6}));
  // Pair 9 of row 2 of the whole step: columns 2 and 3 of the second block.
  std::uint16_t pair[2];
  std::memcpy(pair, whole.w + (9 * 16 + 2) * 4, sizeof(pair));
  EXPECT_EQ(pair[0], values[256 + 2 * 16 + 2]);
  EXPECT_EQ(pair[1], values[256 + 2 * 16 + 3]);
  EXPECT_EQ(w.half(0, 2, 1).steps, 1);  // columns 64 … 95: the block at 64
}

INSTANTIATE_TEST_SUITE_P(Formats, SparseAmx,
                         testing::Values(Kernel{"amx_bf16", "csr"}, Kernel{"amx_bf16", "bitmap"},
                                         Kernel{"amx_bf16", "2to4"}, Kernel{"amx_bf16", "bsr16"},
                                         Kernel{"amx_bf16", "bsr32"}, Kernel{"amx_bf16", "bsr64"},
                                         Kernel{"amx_bf16", "bsr128"},
                                         Kernel{"amx_dense_bf16", "csr"},
                                         Kernel{"amx_dense_bf16", "skip_x"}),
                         [](const auto& info) {
                           return info.param.variant + "_" + info.param.format;
                         });

}  // namespace
}  // namespace pareto
